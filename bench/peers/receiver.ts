// Receives from a port and throws all away: `node receiver.js LOCATOR WARM-UP SECONDS`, the first in milliseconds.
// Prints the million packets a second of the time behind the warm-up.
import { createForwarding } from "../../src/flow/forward.js";
import { openPort } from "../../src/flow/port.js";
import { sleep } from "../peers.js";

const [locator, warmUp, seconds] = process.argv.slice(2);
const from = await openPort(locator, { direction: "in", wait: "busy" });
const to = await openPort("null:", { direction: "out", wait: "busy", linkType: from.can.linkType });
const stop = new AbortController();
const forwarding = createForwarding(from, to, {
  ...{ oneWay: true, wait: "busy", rewrite: { swap: false }, until: stop.signal },
});
const done = forwarding.run();
await sleep(Number(warmUp));
const started = performance.now();
const before = forwarding.sums().transmitted.packets;
await sleep(Number(seconds) * 1000);
const packets = forwarding.sums().transmitted.packets - before;
console.log(packets / (performance.now() - started) / 1000);
stop.abort();
await done;
forwarding.close();
await from.close();
await to.close();
