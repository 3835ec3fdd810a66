import { readFileSync } from "node:fs";
import { WASM, type WasmMemory, type WasmModule, type WasmTable } from "./webassembly.js";

/** What the AssemblyScript kernels export. Addresses are arena offsets; results above 2^31 come back negative (`>>> 0`). */
export interface Kernels {
  /** Functions that the kernels call by their place: filters. Place 0 stays empty. */
  readonly table: WasmTable;
  attach(control: number, worker: number): void;
  takeFrame(): number;
  takeFrames(out: number, count: number): number;
  releaseFrame(address: number): number;
  alone(address: number, count: number): number;
  addReference(address: number): number;
  holds(address: number): number;
  exclusive(address: number): number;
  claimRun(words: number, from: number, to: number, hint: number, count: number, word: number): number;
  takeEmptyMagazine(): number;
  releaseFrom(address: number, owner: number): void;
  sweepOwner(owner: number): number;
  sweepFrames(owner: number): number;
  census(out: number): void;
  ringSpace(side: number, wanted: number): number;
  ringCount(side: number, wanted: number): number;
  ringCommit(side: number): void;
  ringRelease(side: number): void;
  ringFault(side: number): number;
  ringSend(side: number, burst: number, first: number, fragments: number): number;
  ringReceive(side: number, burst: number, most: number): number;
  burstRelease(burst: number, tally: number): number;
  walkPcap(state: number, burst: number): number;
  walkPcapng(state: number, burst: number): number;
  burstRepeat(model: number, first: number, burst: number, most: number): number;
  summarizeBurst(state: number, burst: number): void;
  releaseRun(first: number, count: number): number;
  packCapture(state: number, burst: number, first: number, stop: number): number;
  claimFrames(count: number): number;
  releaseFrames(address: number, count: number): number;
  equalBytes(a: number, b: number, length: number): number;
  rssHash(burst: number, link: number, tables: number, scratch: number): void;
  rssSteer(burst: number, table: number, mask: number): void;
  gatherRun(
    gather: number,
    burst: number,
    datagrams: number,
    last: number,
    cuts: number,
    from: number,
    count: number,
  ): number;
  gatherOthers(gather: number, burst: number, states: number, first: number, next: number): number;
  gatherTick(gather: number): number;
  gatherFlush(gather: number): number;
  gatherRelease(gather: number, chunk: number): void;
  burstCount(burst: number, verdict: number): number;
  burstVerdict(burst: number, from: number, to: number): number;
  scatterFrames(table: number, count: number, headroom: number): number;
  scatterPackets(
    burst: number,
    list: number,
    pieces: number,
    table: number,
    count: number,
    tail: number,
    linear: number,
  ): number;
  swapBytes(at: number, length: number, bits: number): void;
  burstBytes(burst: number, verdict: number): number;
  copyBytes(to: number, from: number, length: number): void;
  burstSuperFrames(burst: number): number;
  forwardEdge(burst: number, first: number, edge: number): number;
  nullReceive(state: number, burst: number, most: number, length: number): number;
  nullSend(state: number, burst: number, first: number, edge: number): number;
  xdpFill(queue: number, most: number): number;
  xdpReady(queue: number): number;
  xdpReceive(queue: number, burst: number, most: number, seconds: number, nanoseconds: number): number;
  xdpSend(queue: number, burst: number, first: number, fragments: number, edge: number): number;
  xdpComplete(queue: number): number;
  packetStart(burst: number, packet: number): number;
  packetEnd(burst: number, packet: number): number;
  packetLength(burst: number, packet: number): number;
  packetCopy(burst: number, packet: number, from: number, length: number, to: number): number;
  packetWrite(burst: number, packet: number, to: number, length: number, source: number): number;
  packetSeal(burst: number, packet: number): void;
  packetSplice(burst: number, packet: number, position: number, remove: number, insert: number): number;
  packetRelease(burst: number, packet: number, position: number, count: number): number;
  packetShare(burst: number, packet: number, position: number, to: number): number;
  packetMove(burst: number, packet: number, to: number): number;
  checksum(at: number, length: number): number;
  checksumCopy(to: number, from: number, length: number): number;
  packetChecksum(burst: number, packet: number, from: number, length: number): number;
  dissectBurst(burst: number, link: number, out: number, scratch: number): void;
  packetSegment(burst: number, packet: number, link: number, to: number, scratch: number): number;
  packetFragment(
    burst: number,
    packet: number,
    link: number,
    mtu: number,
    identification: number,
    to: number,
    scratch: number,
  ): number;
  burstCoalesce(
    burst: number,
    link: number,
    fragments: number,
    to: number,
    work: number,
    scratch: number,
  ): number;
  dissectPacket(burst: number, packet: number, link: number, out: number, scratch: number): number;
  checksumVerify(burst: number, link: number, scratch: number): number;
  checksumFinish(
    burst: number,
    first: number,
    link: number,
    which: number,
    tally: number,
    scratch: number,
  ): number;
  udpDatagrams(burst: number, first: number, scan: number): number;
  virtioCommand(queue: number, address: number, length: number, answer: number): void;
  virtioComplete(queue: number): number;
  virtioFill(queue: number): number;
  virtioReceive(queue: number, burst: number, most: number): number;
  virtioSend(queue: number, burst: number, first: number, last: number): number;
  virtqueueArm(queue: number, on: number): number;
  virtqueueKick(queue: number): number;
  inboxPost(state: number): number;
  inboxReceived(state: number, count: number): void;
  inboxSplit(state: number, burst: number): number;
  inboxUnpost(state: number): void;
  udpBuild(state: number, burst: number, first: number): number;
  inboxFill(state: number, bytes: number): void;
  packetBuild(state: number, burst: number, first: number): number;
  packetRingFill(state: number, burst: number, first: number): number;
  packetRingTaken(state: number, filled: number): number;
  tapReceived(inbox: number, burst: number, length: number, vnet: number): number;
  tpacketSlots(state: number, burst: number): number;
  tpacketBlocks(state: number, burst: number): number;
  tpacketRecord(state: number, output: number, records: number, most: number): number;
  tpacketLarge(state: number, inbox: number, burst: number, length: number): number;
  tpacketReady(state: number, blocks: number): number;
  burstQueueRun(burst: number, first: number): number;
  readVnet(header: number, meta: number): void;
  outboxSegment(state: number): number;
  outboxSent(state: number, burst: number, messages: number, sent: number, zeroCopy: number): number;
  outboxRefuse(state: number, burst: number): number;
  outboxCalls(state: number): number;
  outboxCompleted(state: number, low: number, high: number): number;
  e1000eFill(queue: number): void;
  e1000eReceive(queue: number, burst: number, most: number): number;
  e1000eSend(queue: number, burst: number, first: number, end: number): number;
  e1000eClean(queue: number): number;
  e1000eFlush(queue: number): number;
}

let compiled: WasmModule | undefined;

/** The kernels over one memory: one instance a worker. The module is compiled once a thread. */
export function instantiateKernels(memory: WasmMemory): Kernels {
  compiled ??= new WASM.Module(readFileSync(new URL("./kernels.wasm", import.meta.url)));
  return new WASM.Instance(compiled, { env: { memory } }).exports as unknown as Kernels;
}
