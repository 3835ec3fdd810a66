import type { Layout } from "../types.js";
import { raw } from "./raw.js";
import { rtp } from "./rtp.js";

/** The layouts that millrace brings along, by name. */
export const shippedLayouts: Readonly<Record<string, Layout>> = { raw, rtp };
