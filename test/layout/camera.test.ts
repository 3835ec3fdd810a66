// Aravis' fake GigE Vision camera and Aravis' receiver in namespaces of their own, since it broadcasts to
// discover; tcpdump records what passes, and millrace gathers it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createArena } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import { makeNamespaces, makeVeth, startIn } from "../kit/netns.js";
import { untilWritten } from "./capture.js";

const CAMERA = "arv-fake-gv-camera-0.8";
const RECEIVER = "arv-camera-test-0.8";
const WIDTH = 128;
const HEIGHT = 64;

interface Session {
  readonly capture: string;
  /** What Aravis' receiver reports, by its own names. */
  readonly counted: ReadonlyMap<string, number>;
}

/** Streams for three seconds at 100 images a second: beyond the wrap of the block id, which starts at 65,400. */
async function stream(t: TestContext, lossPerThousand: number): Promise<Session | undefined> {
  for (const program of [CAMERA, RECEIVER, "tcpdump"])
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) {
      t.skip(`${program} is not installed`);
      return undefined;
    }
  const spaces = makeNamespaces(t, "camera", "host");
  if (spaces === undefined) return undefined;
  makeVeth(
    { namespace: spaces.camera, name: "vcam", addresses: ["10.9.0.1/24"] },
    { namespace: spaces.host, name: "vhost", addresses: ["10.9.0.2/24"] },
  );
  const folder = mkdtempSync(join(tmpdir(), "millrace-camera-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const capture = join(folder, "camera.pcap");
  startIn(t, spaces.camera, CAMERA, "-i", "vcam", "-r", String(lossPerThousand));
  const tcpdump = startIn(
    ...([
      t,
      spaces.host,
      "tcpdump",
      "-i",
      "vhost",
      "-B",
      "16384",
      "-Z",
      "root",
      "-w",
      capture,
      "udp",
    ] as const),
  );
  await new Promise<void>((resolve) => {
    tcpdump.stderr?.on("data", (text) => {
      if (String(text).includes("listening on")) resolve();
    });
  });
  await new Promise((resolve) => setTimeout(resolve, 500)); // until the camera listens, which it does not tell
  const receiver = startIn(
    ...([t, spaces.host, RECEIVER, "-r", "-w", `${WIDTH}`, "-h", `${HEIGHT}`] as const),
    ...["-f", "100", "--duration=3"],
  );
  let text = "";
  for await (const part of receiver.stdout ?? []) text += String(part);
  const counted = new Map(
    [...text.matchAll(/^(n_\w+)\s*=\s*(\d+)$/gm)].map(([, name, n]) => [name, Number(n)]),
  );
  const received = counted.get("n_received_packets") ?? 0;
  await untilWritten(capture, received, ({ source, destination }) => source !== 3956 && destination !== 3956);
  tcpdump.kill("SIGINT");
  await once(tcpdump, "exit");
  return { capture, counted };
}

for (const loss of [0, 20])
  test(`images of Aravis' camera, ${loss === 0 ? "all" : "some"} of them whole, are what Aravis received`, async (t) => {
    const session = await stream(t, loss);
    if (session === undefined) return;
    const { capture, counted } = session;
    const port = await openPort(`pcap:${capture}`, { arena: createArena(), direction: "in" });
    t.after(() => port.close());
    const run = flow(port)
      .stage((burst) => {
        // Control and discovery go to and from port 3956: not the stream.
        for (const packet of burst)
          if (packet.u16(34) === 3956 || packet.u16(36) === 3956) packet.drop("gvcp");
      })
      .gather({ layout: "gvsp" });
    const ids: bigint[] = [];
    for await (const chunk of run) {
      ids.push(chunk.id);
      const lacks = new Uint8Array(chunk.length);
      for (const { first, count } of chunk.missing) lacks.fill(1, first, first + count);
      const bytes = chunk.bytes;
      if (chunk.complete) assert.equal(bytes.length, WIDTH * HEIGHT);
      for (let i = 0; i < bytes.length; i++) {
        const pixel = ((i % WIDTH) + Math.floor(i / WIDTH) + Number(chunk.id)) % 255;
        if (!lacks[i]) assert.equal(bytes[i], pixel, `pixel ${i} of block ${chunk.id}`);
      }
    }
    const report = run.report();
    assert.equal(imbalance(report), 0, JSON.stringify(report));
    assert.ok(
      ids.includes(65535n) && ids.includes(1n) && !ids.includes(0n),
      `ids ${ids[0]} to ${ids.at(-1)}`,
    );
    // The camera sends on while the receiver stops, and tcpdump may lack what it had no time for: up to two
    // blocks may differ. The recordings of the other tests are exact.
    const { complete, incomplete } = report.chunks;
    const completed = counted.get("n_completed_buffers") ?? 0;
    const failed = counted.get("n_failures") ?? 0;
    const told = `${complete} complete, ${incomplete} not; Aravis: ${completed}, ${failed}`;
    assert.ok(Math.abs(complete - completed) <= 2, told);
    assert.ok(Math.abs(incomplete - failed) <= 2, told);
  });
