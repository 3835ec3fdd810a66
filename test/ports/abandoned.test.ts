import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { heldCapabilities } from "../../src/linux/capabilities.js";
import { arenaBase } from "../../src/linux/mapping.js";
import { createArenaMemory, shareArena } from "../../src/memory/arena.js";
import { sweepWorker } from "../../src/memory/owners.js";
import { allocateRegion, freeRegion } from "../../src/memory/region.js";
import { freeFrames, freePort } from "../kit/driver.js";

const src = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href);

test("a worker that is killed with rings mapped leaves neither them, nor their sockets, nor a frame behind", async (t) => {
  if (!heldCapabilities().has("CAP_NET_RAW")) return t.skip("packet sockets need CAP_NET_RAW");
  const arena = createArenaMemory({ bytes: 512 * 2 ** 20 }); // slots to send over are large on lo
  const before = freeFrames(arena);
  const base = arenaBase(arena);
  const rings = () =>
    readFileSync("/proc/self/maps", "utf8")
      .split("\n")
      .filter((line) => line.includes("socket:["))
      .map((line) => Number.parseInt(line, 16) - base);
  const sockets = () => readFileSync("/proc/self/net/packet", "utf8").trim().split("\n").length;
  const source = `
    import { parentPort, workerData } from "node:worker_threads";
    import { attachArena } from ${src("memory/arena.js")};
    import { parseLocator } from ${src("ports/locator.js")};
    import { openPacket } from ${src("ports/packet/packet.js")};
    const arena = attachArena(workerData);
    const options = { direction: "both", wait: "busy", signal: new AbortController().signal };
    const port = await openPacket(arena, parseLocator("packet:lo"), options);
    port.start();
    for (let i = 0; i < 100; i++) arena.kernels.takeFrame();
    parentPort.postMessage(arena.worker);
    for (;;) Math.random();`;
  const socketsBefore = sockets();
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: shareArena(arena),
  });
  const [owner] = await once(worker, "message");
  assert.equal(rings().length, 2, "one to receive, one to send");
  assert.ok(rings().every((ring) => ring > 0 && ring < arena.buffer.byteLength));
  await worker.terminate();
  assert.equal(sockets(), socketsBefore + 2, "terminate() alone closes no socket");
  sweepWorker(arena, owner);
  assert.deepEqual(rings(), []);
  assert.equal(sockets(), socketsBefore);
  assert.equal(freeFrames(arena), before);
  const region = allocateRegion(arena, 2 ** 20);
  arena.u8.fill(1, region, region + 2 ** 20);
  freeRegion(arena, region, 2 ** 20);
});

test("a worker that is killed leaves no udp: socket behind, nor what came to it", async () => {
  const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
  const before = freeFrames(arena);
  const port = await freePort();
  const source = `
    import { parentPort, workerData } from "node:worker_threads";
    import { attachArena } from ${src("memory/arena.js")};
    import { createBurst } from ${src("memory/burst.js")};
    import { parseLocator } from ${src("ports/locator.js")};
    import { openUdp } from ${src("ports/udp/udp.js")};
    const arena = attachArena(workerData);
    const options = { direction: "in", wait: "busy", signal: new AbortController().signal };
    const gone = await openUdp(arena, parseLocator("udp://127.0.0.1:0"), options);
    await gone.close();
    const driver = await openUdp(arena, parseLocator("udp://127.0.0.1:${port}"), options);
    parentPort.postMessage(arena.worker);
    const burst = createBurst(arena, 64);
    while (driver.receive(burst) === 0);
    parentPort.postMessage("received");
    for (;;) Math.random();`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: shareArena(arena),
  });
  const [owner] = await once(worker, "message");
  const other = createSocket("udp4");
  const received = once(worker, "message");
  for (let i = 0; i < 20; i++) other.send(Buffer.alloc(5000), port, "127.0.0.1");
  await received;
  await worker.terminate();
  const bind = () =>
    new Promise<string>((resolve) => {
      const socket = createSocket("udp4");
      socket.once("error", (error: NodeJS.ErrnoException) => socket.close(() => resolve(error.code ?? "")));
      socket.bind(port, "127.0.0.1", () => socket.close(() => resolve("bound")));
    });
  assert.equal(await bind(), "EADDRINUSE", "terminate() alone closes no socket");
  sweepWorker(arena, owner);
  assert.equal(await bind(), "bound");
  assert.equal(freeFrames(arena), before);
  other.close();
});
