import { MillraceError } from "../errors.js";
import type { Filter } from "../filter/compile.js";
import type { LinkType } from "../ports/port.js";
import { type OpenPort, openPort, type Port } from "./port.js";

/** An end of a flow: a locator, which the flow opens and closes, or a port, which stays its owner's. */
export type End = string | Port;

/** Opened ends, and how to close those that were locators. */
export interface OpenEnds {
  readonly ports: OpenPort[];
  /** Those among them that were locators. */
  readonly own: OpenPort[];
  close(): Promise<void>;
}

/** Opens what is a locator; on a failure what was opened before is closed again. */
export async function openEnds(
  ends: readonly End[],
  direction: "in" | "out",
  options: { readonly filter?: string | Filter; readonly linkType?: LinkType } = {},
): Promise<OpenEnds> {
  const ports: OpenPort[] = [];
  const own: OpenPort[] = [];
  const close = async () => {
    await Promise.all(own.map((port) => port.close()));
  };
  try {
    for (const end of ends) {
      if (typeof end === "string") own.push(await openPort(end, { direction, ...options }));
      else if (options.filter !== undefined)
        throw new MillraceError("ERR_USAGE", "an open port has its own filter", {
          hint: "open(locator, { filter })",
        });
      ports.push(typeof end === "string" ? own[own.length - 1] : (end as OpenPort));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { ports, own, close };
}
