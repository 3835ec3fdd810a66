import type { GatherOptions } from "../../src/flow/gather-options.js";

export const CAMERA_ADDRESS = "10.9.0.1";

/** What the camera sends, without what goes to and from the port of control and discovery. */
export const ofCamera = `udp and src host ${CAMERA_ADDRESS} and not port 3956`;

/** Nothing ends the waiting for a block but later blocks: a busy machine may stop everyone for long. */
export const gatherOptions: GatherOptions = { layout: "gvsp", open: 8, timeout: 600_000 };
