import { MillraceError } from "../errors.js";
import { LINK_DATAGRAM } from "../kernels/structs.js";
import type { LinkType } from "./types.js";

/** LINKTYPE_ values of the tcpdump.org list. */
const NUMBERS = {
  NULL: 0,
  EN10MB: 1,
  RAW: 101,
  LOOP: 108,
  LINUX_SLL: 113,
  IPV4: 228,
  IPV6: 229,
  LINUX_SLL2: 276,
  DATAGRAM: LINK_DATAGRAM,
} as const;

// Nearly every call asks for the link type that the one before asked for.
let lastType: LinkType = "EN10MB";
let lastNumber: number = NUMBERS.EN10MB;

/** The LINKTYPE_ value of a link type; LINK_DATAGRAM for DATAGRAM, which has none. */
export function linkTypeNumber(type: LinkType): number {
  if (type === lastType) return lastNumber;
  lastNumber = lookUp(type);
  lastType = type;
  return lastNumber;
}

function lookUp(type: LinkType): number {
  if (typeof type === "string") {
    const number = (NUMBERS as Readonly<Record<string, number>>)[type];
    if (number !== undefined) return number;
  } else if (Number.isInteger(type) && type >= 0 && type < LINK_DATAGRAM) return type;
  throw new MillraceError("ERR_USAGE", `${type} is no link type`, {
    hint: `it is ${Object.keys(NUMBERS).join(", ")} or a LINKTYPE_ value`,
  });
}

/** A LINKTYPE_ value by its name where it has one here. */
export function linkTypeOf(number: number): LinkType {
  // 12 and 14 are DLT_RAW of older systems.
  if (number === 12 || number === 14) return "RAW";
  for (const [name, value] of Object.entries(NUMBERS)) if (value === number) return name as LinkType;
  return number;
}
