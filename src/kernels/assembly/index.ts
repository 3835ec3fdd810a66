// Everything TypeScript can call, one file a paragraph.
export {
  addReference,
  alone,
  attach,
  census,
  claimFrames,
  claimRun,
  exclusive,
  holds,
  releaseFrame,
  releaseFrames,
  releaseFrom,
  sweepFrames,
  sweepOwner,
  takeEmptyMagazine,
  takeFrame,
  takeFrames,
} from "./arena";
export { burstBytes, burstCount, burstQueueRun, burstRelease, burstVerdict } from "./burst";
export { walkPcap } from "./capture-pcap";
export { walkPcapng } from "./capture-pcapng";
export { summarizeBurst } from "./capture-summary";
export { releaseRun } from "./capture-walk";
export { packCapture } from "./capture-write";
export { checksum, checksumCopy, packetChecksum } from "./checksum";
export { burstCoalesce } from "./coalesce";
export { udpDatagrams } from "./datagrams";
export { dissectPacket } from "./dissect";
export { dissectBurst } from "./dissect-burst";
export { e1000eClean, e1000eFlush } from "./e1000e-clean";
export { e1000eFill } from "./e1000e-fill";
export { e1000eReceive } from "./e1000e-receive";
export { e1000eSend } from "./e1000e-send";
export { equalBytes } from "./equal";
export { checksumFinish, checksumVerify } from "./finish";
export { burstSuperFrames, forwardEdge } from "./forward";
export { gatherFlush, gatherOthers, gatherRelease, gatherRun, gatherTick } from "./gather";
export { inboxFill, inboxPost, inboxReceived, inboxSplit, inboxUnpost } from "./inbox";
export { copyBytes } from "./memory";
export { nullReceive } from "./null";
export { nullSend } from "./null-send";
export { outboxCalls, outboxCompleted, outboxRefuse, outboxSegment, outboxSent } from "./outbox";
export {
  packetCopy,
  packetEnd,
  packetLength,
  packetMove,
  packetRelease,
  packetSeal,
  packetShare,
  packetSplice,
  packetStart,
  packetWrite,
} from "./packet";
export { packetRingFill, packetRingTaken } from "./packet-ring";
export { packetBuild } from "./packet-send";
export { burstRepeat } from "./repeat";
export { ringCommit, ringCount, ringFault, ringReceive, ringRelease, ringSend, ringSpace } from "./ring";
export { rssHash, rssSteer } from "./rss";
export { scatterFrames, scatterPackets, scatterPackets } from "./scatter";
export { packetFragment, packetSegment } from "./segment";
export { swapBytes } from "./swap";
export { tapReceived } from "./tap";
export { tpacketReady, tpacketSlots } from "./tpacket";
export { tpacketBlocks } from "./tpacket-blocks";
export { tpacketLarge } from "./tpacket-large";
export { tpacketRecord } from "./tpacket-record";
export { udpBuild } from "./udp-send";
export { virtioFill, virtioReceive } from "./virtio-receive";
export { virtioCommand, virtioComplete, virtioSend } from "./virtio-send";
export { virtqueueArm, virtqueueKick } from "./virtqueue";
export { readVnet } from "./vnet";
export { xdpFill, xdpReady, xdpReceive } from "./xdp";
export { xdpComplete, xdpSend } from "./xdp-send";
