// Everything TypeScript can call, one line a file.
export {
  addReference,
  attach,
  census,
  claimRun,
  exclusive,
  holds,
  releaseFrame,
  sweepFrames,
  sweepOwner,
  takeFrame,
  takeFrames,
} from "./arena";
export {
  burstBytes,
  burstRelease,
  ringCommit,
  ringCount,
  ringFault,
  ringReceive,
  ringRelease,
  ringSend,
  ringSpace,
} from "./ring";
