// Gathers a camera's stream from a packet port and tells of each block on a line of its own, for camera.test.ts,
// which runs it in a namespace. `end N` on standard input ends it once it has received N packets.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { createArena } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { openPort } from "../../src/flow/port.js";
import { gatherOptions, ofCamera } from "./camera-stream.js";

const [device] = process.argv.slice(2);
// The ring holds more than the camera sends, so that nothing is dropped however late this runs.
const port = await openPort(`packet:${device}?buffer=16384`, {
  arena: createArena({ bytes: 512 * 2 ** 20 }),
  direction: "in",
  filter: ofCamera,
});
const end = new AbortController();
const run = flow(port)
  .gather(gatherOptions)
  .transform(({ id, complete, bytes }) => {
    const sum = createHash("sha1").update(bytes).digest("hex");
    console.log(JSON.stringify({ id: `${id}`, complete, sum }));
  });
createInterface(process.stdin).on("line", (line) => {
  const packets = Number(line.split(" ")[1]);
  const timer = setInterval(() => {
    if (run.report().received.packets < packets) return;
    clearInterval(timer);
    end.abort();
  }, 20);
});
const done = run.to("file:/dev/null", { until: end.signal });
console.log(JSON.stringify({ listening: device }));
const report = await done;
console.log(JSON.stringify({ report }));
await port.close();
process.exit();
