// Where the threads of `millrace forward --workers N --cpus LIST` run, as the kernel tells it.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { threadCpus } from "../../src/linux/thread.js";
import { MAIN } from "../kit/lan.js";
import { until } from "../kit/until.js";

/** The CPUs that each thread of a process may run on, as in `0-1`. */
function cpusOfThreads(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? "";
  });
}

const allowed = threadCpus();
const [first, last] = [allowed[0], allowed[allowed.length - 1]];

for (const workers of [1, 2, 3])
  test(`of ${workers} worker(s) each runs on the processor that was asked for, in turn`, async (t) => {
    const list = workers === 1 ? `${last}` : `${last},${first}`;
    const args = ["forward", "null:", "null:", "--workers", String(workers), "--cpus", list];
    const child = spawn(process.execPath, [MAIN, ...args, "--wait", "interrupt"], { stdio: "pipe" });
    t.after(() => child.kill("SIGKILL"));
    let told = "";
    child.stderr.on("data", (text) => {
      told += text;
    });
    await until(
      () => `it forwards: ${told}`,
      () => told.includes("forwarding between"),
    );
    const lists = cpusOfThreads(child.pid ?? 0);
    const on = (cpu: number) => lists.filter((one) => one === String(cpu)).length;
    if (first === last) assert.ok(on(first) >= workers, lists.join(" "));
    else {
      assert.equal(on(last), Math.ceil(workers / 2), lists.join(" "));
      assert.equal(on(first), Math.floor(workers / 2), lists.join(" "));
      assert.ok(lists.length > workers, "threads that nobody pinned stay as they were");
    }
    child.kill("SIGINT");
    const [status] = await once(child, "exit");
    assert.equal(status, 0);
  });

test("a list of processors that makes no sense is refused, and says what is wrong with it", () => {
  const WRONG = [
    ["0,x", 2, /numbers of processors, separated by commas, are wanted/],
    ["", 2, /numbers of processors, separated by commas, are wanted/],
    ["0,,1", 2, /numbers of processors, separated by commas, are wanted/],
    ["-1", 2, /numbers of processors, separated by commas, are wanted/],
    ["1.5", 2, /numbers of processors, separated by commas, are wanted/],
    ["5000", 2, /5000 is not the number of a CPU/],
    [
      "1023",
      1,
      /CPU 1023: .*\(EINVAL\)\nmillrace: .*\/sys\/devices\/system\/cpu\/online say which CPUs there are/,
    ],
  ] as const;
  for (const workers of ["1", "2"])
    for (const [list, status, message] of WRONG) {
      const args = ["forward", "null:", "null:", "--workers", workers, `--cpus=${list}`, "--duration", "0.1"];
      const result = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", timeout: 60_000 });
      assert.equal(result.status, status, `${list}: ${result.stderr}`);
      assert.match(result.stderr, message);
    }
});
