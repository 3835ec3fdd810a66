import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { closeSync, readdirSync, readlinkSync, readSync, writeSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { MillraceError } from "../../src/errors.js";
import { heldCapabilities } from "../../src/linux/capabilities.js";
import { check } from "../../src/linux/errno.js";
import { libc } from "../../src/linux/libc.js";
import { arenaBase, mapOver, unmapOver } from "../../src/linux/mapping.js";
import { AF_INET, decodeAddress, encodeAddress, formatAddress, openSocket } from "../../src/linux/socket.js";
import { pinThread, threadCpus } from "../../src/linux/thread.js";
import { POLLIN, pollNow, watch } from "../../src/linux/watch.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { allocateRegion, freeRegion } from "../../src/memory/region.js";

test("a memfd mapped over a region is seen from both sides, and gone once it is unmapped", () => {
  const arena = createArenaMemory({ bytes: 16 * 2 ** 20 });
  const region = allocateRegion(arena, 65536);
  const fd = check(libc().memfd_create("millrace-test", 1), "memfd_create", "test");
  writeSync(fd, new Uint8Array(65536).fill(7));
  mapOver(arena, region, 65536, { fd, at: 0 }, "test");
  assert.equal(arena.u8[region + 65535], 7);
  arena.u8[region + 4096] = 9;
  const byte = new Uint8Array(1);
  readSync(fd, byte, 0, 1, 4096);
  assert.equal(byte[0], 9);
  unmapOver(arena, region, 65536);
  assert.equal(arena.u8[region + 65535], 0);
  closeSync(fd);
  freeRegion(arena, region, 65536);
  assert.equal(arenaBase(arena) % 65536, 0);
  assert.throws(() => unmapOver(arena, arena.buffer.byteLength - 4096, 8192), { code: "ERR_MEMORY" });
  assert.throws(() => unmapOver(arena, 100, 4096), { code: "ERR_MEMORY" });
});

test("a failed system call names its errno, the call and what to do", () => {
  const failing = () =>
    openSocket(AF_INET, 77, 0, "a strange socket", {
      EINVAL: "ask for another",
      ESOCKTNOSUPPORT: "ask for another",
    });
  assert.throws(failing, (error) => {
    assert(error instanceof MillraceError);
    assert.match(error.message, /^a strange socket: socket: /);
    assert.equal(error.syscall, "socket");
    assert.ok((error.errno ?? 0) < 0);
    assert.equal(error.hint, "ask for another");
    return true;
  });
});

test("waiting for a descriptor ends with data, with an abort and with close, and survives garbage collection", async () => {
  const fd = check(libc().eventfd(0, 0x800), "eventfd", "test");
  const watching = watch(fd);
  const forever = new AbortController();
  let woken = 0;
  const first = watching.readable(forever.signal).then(() => woken++);
  const second = watching.readable(forever.signal).then(() => woken++);
  globalThis.gc?.();
  await sleep(20);
  assert.equal(woken, 0);
  libc().write(fd, new BigUint64Array([1n]), 8);
  await Promise.all([first, second]);
  assert.equal(pollNow(fd, POLLIN, 0), POLLIN);
  await watching.writable(forever.signal);
  libc().read(fd, new BigUint64Array(1), 8);
  assert.equal(pollNow(fd, POLLIN, 0), 0);
  const aborted = watching.readable(forever.signal);
  forever.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
  const left = watching.readable(new AbortController().signal);
  watching.close();
  await left;
  libc().close(fd);
});

test("of those who wait for one of two descriptors each goes with its own signal, and no signal is listened to after", async () => {
  const [one, two] = [0, 0].map(() => check(libc().eventfd(0, 0x800), "eventfd", "test"));
  const fill = (fd: number) => libc().write(fd, new BigUint64Array([1n]), 8);
  const empty = (fd: number) => libc().read(fd, new BigUint64Array(1), 8);
  const watching = watch(one, two);
  const [stays, leaves, leavesToo] = [0, 1, 2].map(() => new AbortController());
  const outcomes = [stays, leaves, leavesToo, leaves].map(({ signal }) =>
    watching.readable(signal).then(
      () => "ready",
      (reason: Error) => reason.message,
    ),
  );
  leaves.abort(new Error("first"));
  leavesToo.abort(new Error("second"));
  assert.deepEqual(await Promise.all(outcomes.slice(1)), ["first", "second", "first"]);
  fill(two);
  assert.equal(await outcomes[0], "ready");
  empty(two);
  // Who waits all the time, and others with a signal for each wait: as a reader of a port and those who write to it.
  const reading = watching.readable(stays.signal);
  for (let i = 0; i < 100; i++) {
    const own = new AbortController();
    await watching.writable(own.signal);
    assert.equal(getEventListeners(own.signal, "abort").length, 0);
  }
  fill(one);
  await reading;
  watching.close();
  assert.equal(getEventListeners(stays.signal, "abort").length, 0);
  for (const fd of [one, two]) libc().close(fd);
});

test("a descriptor that is let go of and watched again before the event loop turns is heard of, and leaves nothing", async () => {
  const before = openSets();
  const fd = check(libc().eventfd(1, 0x800), "eventfd", "test");
  for (let i = 0; i < 20; i++) {
    const { signal } = new AbortController();
    const former = watch(fd);
    const first = former.readable(signal);
    former.close();
    const watching = watch(fd);
    await Promise.all([first, watching.readable(signal)]);
    await watching.readable(signal);
    watching.close();
  }
  libc().close(fd);
  assert.equal(openSets(), before);
});

function openSets(): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // of the directory itself
    }
  });
  return targets.filter((target) => target === "anon_inode:[eventpoll]").length;
}

// An addon that is called back then ends the process: this test would not come to its end.
for (const [way, last] of [
  ["from outside", ""],
  ["with process.exit()", "process.exit(3);"],
  ["with an error", "throw new Error('boom');"],
])
  test(`a thread that is ended ${way} while what it waits for comes and comes ends alone`, async () => {
    const source = `
      import { parentPort } from "node:worker_threads";
      import { libc } from ${JSON.stringify(new URL("../../src/linux/libc.js", import.meta.url).href)};
      import { watch } from ${JSON.stringify(new URL("../../src/linux/watch.js", import.meta.url).href)};
      const wait = async () => {
        const { signal } = new AbortController();
        const watching = watch(libc().eventfd(1, 0x800));
        for (let i = 0; ; i++) {
          await watching.readable(signal);
          if (i === 20) {
            parentPort.postMessage("woken");
            ${last}
          }
        }
      };
      process.removeAllListeners("exit");
      for (let i = 0; i < 20; i++) void wait();`;
    const before = openSets();
    for (let i = 0; i < 10; i++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
      const ended = new Promise((resolve) => worker.once("exit", resolve));
      worker.on("error", (error) => assert.match(String(error), /boom/));
      if (last === "") {
        await once(worker, "message");
        await worker.terminate();
      }
      await ended;
    }
    assert.equal(openSets(), before);
  });

test("Internet addresses survive the kernel's structures", () => {
  const port = fc.integer({ min: 0, max: 65535 });
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), port, (address, number) => {
      const encoded = encodeAddress({ address, port: number });
      const decoded = decodeAddress(encoded);
      assert(decoded !== undefined);
      assert.deepEqual(encodeAddress(decoded), encoded);
    }),
  );
  assert.equal(formatAddress({ address: "::1", port: 5 }), "[::1]:5");
  assert.equal(decodeAddress(new Uint8Array(3)), undefined);
  assert.equal(decodeAddress(new Uint8Array(28).fill(255)), undefined);
});

test("a thread is pinned to a CPU and the others stay where they are", async () => {
  const before = threadCpus();
  const source = `
    import { parentPort } from "node:worker_threads";
    import { pinThread, threadCpus } from ${JSON.stringify(new URL("../../src/linux/thread.js", import.meta.url).href)};
    pinThread(${before[0]});
    parentPort.postMessage(threadCpus());`;
  assert.deepEqual(await inWorker(source), [before[0]]);
  assert.deepEqual(threadCpus(), before);
  assert.throws(() => pinThread(5000), { code: "ERR_USAGE" });
});

test("capabilities given up in one thread are gone there and nowhere else", async (t) => {
  if (!heldCapabilities().has("CAP_NET_RAW")) return t.skip("needs CAP_NET_RAW to give up");
  const source = `
    import { parentPort } from "node:worker_threads";
    import { dropCapabilities, heldCapabilities } from ${JSON.stringify(new URL("../../src/linux/capabilities.js", import.meta.url).href)};
    import { openSocket } from ${JSON.stringify(new URL("../../src/linux/socket.js", import.meta.url).href)};
    dropCapabilities(["CAP_NET_ADMIN"]);
    let code = "none";
    try { openSocket(17, 3, 0, "packet socket") } catch (error) { code = error.code }
    parentPort.postMessage([code, ...heldCapabilities()]);`;
  assert.deepEqual(await inWorker(source), ["EPERM", "CAP_NET_ADMIN"]);
  assert.ok(heldCapabilities().has("CAP_NET_RAW"));
});

function inWorker(source: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}
