import type { MillraceError } from "../errors.js";
import { filterError } from "./fault.js";
import { createValues, type LoadSize, load, slotValue, type Value, type Values } from "./ir.js";

/** Link types that filters are compiled for. PPP is reached through PPPoE only. */
export type FilterLinkType =
  | "EN10MB"
  | "RAW"
  | "IPV4"
  | "IPV6"
  | "LINUX_SLL"
  | "LINUX_SLL2"
  | "NULL"
  | "LOOP";

/** Where a header begins: so many bytes from the start of the packet, plus what a slot says. */
export interface Place {
  readonly base: Value | undefined;
  readonly bytes: number;
}

/** How the generator sees the packet at the point of the expression that it has reached. */
export interface FilterState {
  readonly expression: string;
  readonly values: Values;
  readonly outermost: FilterLinkType;
  /** True: for packets of a capture file, which carry nothing beside their bytes. */
  readonly fromFile: boolean;
  /** True: the outermost VLAN tag may have been taken out of the bytes, and stand beside them. */
  readonly tagsBeside: boolean;
  /** Mask of the local IPv4 network, for `ip broadcast`; 0: only the all-zeros and all-ones addresses are known. */
  readonly netmask: number;
  /** Offset of the word that is being compiled, for messages. */
  at: number;
  /** The innermost link layer reached so far. */
  linkType: FilterLinkType | "PPP";
  linkHeader: Place;
  /** Undefined: the link layer has no type field. */
  linkTypeField: Place | undefined;
  payload: Place;
  /** Bytes from the payload to the network layer, with and without a SNAP header. */
  network: number;
  networkNoSnap: number;
  /** Inside a tunnel: `linkHeader` and `payload` may coincide, and then there is no inner link layer. */
  tunnelled: boolean;
  vlans: number;
  labels: number;
  /** Slots given out for good, and intermediate results alive at this point. */
  slots: number;
  registers: number;
  /** What libpcap would leave unoptimized: slots are read where they were not surely written. */
  usesSlots: boolean;
}

const LAYOUTS: Readonly<
  Record<FilterLinkType, readonly [typeField: number, payload: number, noSnap: number]>
> = {
  EN10MB: [12, 14, 3],
  RAW: [-1, 0, 0],
  IPV4: [-1, 0, 0],
  IPV6: [-1, 0, 0],
  LINUX_SLL: [14, 16, 0],
  LINUX_SLL2: [0, 20, 0],
  NULL: [0, 4, 0],
  LOOP: [0, 4, 0],
};

export const LINK_TYPES: readonly FilterLinkType[] = Object.keys(LAYOUTS) as FilterLinkType[];

export function createState(
  expression: string,
  linkType: FilterLinkType,
  fromFile: boolean,
  netmask: number,
  tagsBeside = false,
): FilterState {
  const [typeField, payload, networkNoSnap] = LAYOUTS[linkType];
  return {
    expression,
    values: createValues(),
    outermost: linkType,
    fromFile,
    tagsBeside,
    netmask,
    at: 0,
    linkType,
    linkHeader: { base: undefined, bytes: 0 },
    linkTypeField: typeField < 0 ? undefined : { base: undefined, bytes: typeField },
    payload: { base: undefined, bytes: payload },
    network: 0,
    networkNoSnap,
    tunnelled: false,
    vlans: 0,
    labels: 0,
    slots: 0,
    registers: 0,
    usesSlots: false,
  };
}

/** The error for the word that is being compiled. */
export function fault(state: FilterState, message: string, hint?: string): MillraceError {
  return filterError(state.expression, state.at, message, hint);
}

/** Slots of classic BPF (M[]): variable offsets, and intermediate results while an expression is evaluated. */
const SLOTS = 16;

export function takeRegister(state: FilterState): void {
  if (state.registers + state.slots >= SLOTS)
    throw fault(
      state,
      "the arithmetic needs more than 16 intermediate results",
      "use fewer parentheses to the right",
    );
  state.registers++;
}

export function takeSlot(state: FilterState): number {
  if (state.registers + state.slots >= SLOTS)
    throw fault(
      state,
      "the expression enters too many tunnels",
      "test the inner tunnels with a filter of their own",
    );
  state.usesSlots = true;
  return state.slots++;
}

export function slotPlace(state: FilterState, slot: number): Place {
  return { base: slotValue(state.values, slot), bytes: 0 };
}

export function moved(place: Place, bytes: number): Place {
  return { base: place.base, bytes: (place.bytes + bytes) >>> 0 };
}

export function loadFrom(state: FilterState, place: Place, offset: number, size: LoadSize): Value {
  return load(state.values, size, place.base, place.bytes + offset);
}

/** A load from the network header. */
export function loadNetwork(state: FilterState, offset: number, size: LoadSize): Value {
  return loadFrom(state, state.payload, state.network + offset, size);
}
