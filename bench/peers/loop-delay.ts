// Loaded before a command (node --import): how late its event loop turns, from SIGUSR2 on, told when it ends.
import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION = 1; // milliseconds between two looks; the histogram holds them with the delay
const histogram = monitorEventLoopDelay({ resolution: RESOLUTION });
histogram.enable();
process.on("SIGUSR2", () => histogram.reset());
process.on("exit", () => {
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION).toFixed(2);
  process.stderr.write(
    `loop delay p99 ${late(histogram.percentile(99))} ms, max ${late(histogram.max)} ms\n`,
  );
});
