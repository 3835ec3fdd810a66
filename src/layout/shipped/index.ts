import type { Layout } from "../types.js";
import { gvsp } from "./gvsp.js";
import { raw } from "./raw.js";
import { rfc4175 } from "./rfc4175.js";
import { rtp } from "./rtp.js";
import { spead } from "./spead.js";
import { vdif, vtp } from "./vdif.js";

/** The layouts that millrace brings along, by name. */
export const shippedLayouts: Readonly<Record<string, Layout>> = {
  raw,
  rtp,
  rfc4175,
  gvsp,
  vdif,
  vtp,
  spead,
};
