// What is looked at before a packet's pieces are read for someone outside: a file, a socket.
import { DESC_ADDR, DESC_LEN, DESC_SIZE, FAULT_OWNER } from "../structs";
import { holds } from "./arena";
import { descriptorFault } from "./ring";

/** Bytes of the pieces that piecesFault() found in order. */
export let piecesBytes: u32 = 0;

/** 0 where this worker holds each of the descriptors [start, end), else the fault of the first that is none of its own, with its number. */
export function piecesFault(descs: u32, start: u32, end: u32): u32 {
  let bytes: u32 = 0;
  for (let index = start; index < end; index++) {
    const at = descs + index * DESC_SIZE;
    let wrong = descriptorFault(at);
    if (wrong == 0 && !holds(load<u32>(at, DESC_ADDR))) wrong = FAULT_OWNER;
    if (wrong != 0) return (index << 8) | wrong;
    bytes += load<u32>(at, DESC_LEN);
  }
  piecesBytes = bytes;
  return 0;
}
