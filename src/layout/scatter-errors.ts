import type { MillraceError } from "../errors.js";
import { layoutError } from "./parse.js";

/** A layout that no datagram of ours can meet. */
export function unwritable(why: string): MillraceError {
  return layoutError([], `scatter cannot make datagrams of this layout: ${why}`);
}
