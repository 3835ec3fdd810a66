// A worker that dies, seen from the process that lives on.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { defaultArena } from "../../src/flow/arena.js";
import { type ForwardTask, runWorkers } from "../../src/flow/forward-workers.js";
import { imbalance } from "../../src/flow/report.js";
import { enterNetns } from "../../src/linux/thread.js";
import { makeLan } from "../kit/lan.js";
import { ip, startIn } from "../kit/netns.js";

/** Ends its thread at the first long IPv4 packet. */
const dying = (last: string) =>
  `data:text/javascript,${encodeURIComponent(`export function stage(burst) {
    for (const packet of burst) if (packet.u16(12) === 0x0800 && packet.length > 1000) { ${last} }
  }`)}`;

/** How many bpf links and maps this process has open. */
function openLinks(): number {
  let found = 0;
  for (const fd of readdirSync("/proc/self/fd"))
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`).includes("bpf")) found++;
    } catch {
      // the descriptor of the directory itself
    }
  return found;
}

const WAYS = [
  ["an exit", "process.exit(7)", true, /worker \d .*: it ended with status 7/],
  ["an exit that looks like success", "process.exit()", true, /worker \d .*: it ended with status 0/],
  ["an error nobody catches", "setImmediate(() => { throw new Error('boom'); })", true, /worker \d .*boom/],
  ["an exit without a word", "process.removeAllListeners('exit'); process.exit(7)", false, /status 7/],
] as const;

for (const [name, last, reports, message] of WAYS)
  test(`a worker that dies of ${name} leaves no program, no socket and no frame behind`, async (t) => {
    const lan = makeLan(t, { queues: 2 });
    if (lan === undefined) return;
    enterNetns(lan.middle);
    const arena = defaultArena();
    startIn(t, lan.client, "ping", "-i", "0.1", "-s", "1200", "10.7.0.2");
    const task: ForwardTask = {
      ...{ from: "xdp:v0", to: "xdp:v1", oneWay: false, wait: "interrupt", rewrite: { swap: false } },
      ...{ module: dying(last), dropPrivileges: false, cpus: [] },
    };
    const { free } = arena;
    const outcome = await runWorkers(task, 2, new AbortController().signal, () => {});
    assert.match(String(outcome.failure), message);
    assert.equal(outcome.workers.length, 2);
    const dead = outcome.workers.filter(({ failure }) => failure !== undefined);
    assert.equal(dead.length, 1);
    assert.equal(dead[0].complete, reports);
    assert.ok(dead[0].report !== undefined, "what it had counted so far");
    assert.ok(dead[0].frames > 0, "it held the frames of its fill rings");
    assert.equal(imbalance(outcome.report), 0, JSON.stringify(outcome.report));
    for (const { report } of outcome.workers) if (report !== undefined) assert.equal(imbalance(report), 0);
    assert.doesNotMatch(ip("-n", lan.middle, "-d", "link"), /xdp|promiscuity [1-9]/);
    assert.equal(openLinks(), 0);
    assert.doesNotMatch(readFileSync("/proc/self/maps", "utf8"), /socket:/, "no ring is mapped");
    assert.equal(arena.free, free);
    // And the queues are free for the next.
    const end = new AbortController();
    const again = await runWorkers({ ...task, module: undefined }, 2, end.signal, () => end.abort());
    assert.equal(again.failure, undefined);
    assert.equal(arena.free, free);
    assert.equal(openLinks(), 0);
  });
