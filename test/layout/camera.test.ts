// Aravis' fake GigE Vision camera and Aravis' receiver in namespaces of their own, since it broadcasts to
// discover; tcpdump records what passes, and millrace gathers it, live and from the recording.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import type { Chunk } from "../../src/flow/chunk.js";
import { flow } from "../../src/flow/flow.js";
import { imbalance, type Report } from "../../src/flow/report.js";
import { makeNamespaces, makeVeth, startIn } from "../kit/netns.js";
import { until } from "../kit/until.js";
import { CAMERA_ADDRESS, gatherOptions, ofCamera } from "./camera-stream.js";
import { type CapturedDatagram, datagramsSent, readDatagrams, record } from "./capture.js";

const CAMERA = "arv-fake-gv-camera-0.8";
const RECEIVER = "arv-camera-test-0.8";
const WIDTH = 128;
const HEIGHT = 64;

/** Aravis' receiver, by its own log: what came of each block, and each datagram that it received. */
interface Aravis {
  readonly verdicts: ReadonlyMap<bigint, "Completed" | "Incomplete">;
  /** As "block packet". */
  readonly received: ReadonlySet<string>;
  /** What it reports once its thread has ended, by its own names: its last line comes while blocks are still counted. */
  readonly counted: ReadonlyMap<string, number>;
}

interface Told {
  readonly complete: boolean;
  readonly sum: string;
}

interface Session {
  readonly capture: string;
  readonly aravis: Aravis;
  readonly live: ReadonlyMap<bigint, Told>;
  readonly liveReport: Report;
}

function readLog(log: string): Aravis {
  const verdicts = new Map(
    [...log.matchAll(/check_frame_completion\] (Completed|Incomplete) frame (\d+)/g)].map(
      ([, verdict, id]) => [BigInt(id), verdict as "Completed" | "Incomplete"],
    ),
  );
  const received = new Set(
    [...log.matchAll(/frame_id +=\s+(\d+) *\n +packet_id +=\s+(\d+)/g)].map(
      ([, id, packet]) => `${id} ${packet}`,
    ),
  );
  const counted = new Map(
    [...log.matchAll(/finalize\] (n_\w+)\s*=\s*(\d+)$/gm)].map(([, name, n]) => [name, Number(n)]),
  );
  return { verdicts, received, counted };
}

/** What a program writes, as it comes. */
function textOf(...streams: readonly (NodeJS.ReadableStream | null)[]): { text: string } {
  const written = { text: "" };
  for (const stream of streams)
    stream?.setEncoding("utf8").on("data", (text: string) => {
      written.text += text;
    });
  return written;
}

/** Streams 100 images a second until the block id, which starts at 65,400, has started again. */
async function stream(t: TestContext, lossPerThousand: number): Promise<Session | undefined> {
  for (const program of [CAMERA, RECEIVER, "tcpdump"])
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) {
      t.skip(`${program} is not installed`);
      return undefined;
    }
  const spaces = makeNamespaces(t, "camera", "host");
  if (spaces === undefined) return undefined;
  makeVeth(
    { namespace: spaces.camera, name: "vcam", addresses: [`${CAMERA_ADDRESS}/24`] },
    { namespace: spaces.host, name: "vhost", addresses: ["10.9.0.2/24"] },
  );
  const folder = mkdtempSync(join(tmpdir(), "millrace-camera-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const capture = join(folder, "camera.pcap");
  const recorded = await record(t, spaces.host, "vhost", capture);
  const program = new URL("./camera-receiver.js", import.meta.url).pathname;
  const ours = startIn(t, spaces.host, process.execPath, program, "vhost");
  const errors = textOf(ours.stderr);
  const live = new Map<bigint, Told>();
  const told: { listening?: string; report?: Report } = {};
  createInterface(ours.stdout as NodeJS.ReadableStream).on("line", (line) => {
    const one = JSON.parse(line);
    if ("id" in one) live.set(BigInt(one.id), one);
    else Object.assign(told, one);
  });
  await until("our receiver listens", () => told.listening !== undefined || ours.exitCode !== null);
  assert.equal(ours.exitCode, null, `our receiver: ${errors.text}`);
  startIn(t, spaces.camera, CAMERA, "-i", "vcam", "-r", String(lossPerThousand));
  let log = "";
  // The camera does not tell when it listens: who asks too early finds none, and asks again.
  for (let tries = 0; tries < 50 && !live.has(20n); tries++) {
    const wanted = ["-r", "-w", `${WIDTH}`, "-h", `${HEIGHT}`, "-f", "100", "-m", "600000"];
    const receiver = startIn(t, spaces.host, RECEIVER, ...wanted, "-d", "stream:2,stream-thread:3,sp:4");
    const printed = textOf(receiver.stdout, receiver.stderr);
    const closed = once(receiver, "close");
    await until(
      "the block id starts again",
      () => live.has(20n) || receiver.exitCode !== null || ours.exitCode !== null,
    );
    receiver.kill("SIGINT");
    await closed;
    log = printed.text;
    assert.equal(ours.exitCode, null, `our receiver: ${errors.text}`);
  }
  const ofCameraOnly = ({ from }: CapturedDatagram) => from === CAMERA_ADDRESS;
  await recorded(() => datagramsSent(spaces.camera), ofCameraOnly);
  const datagrams = readDatagrams(capture).filter((one) => ofCameraOnly(one) && one.source !== 3956);
  ours.stdin?.write(`end ${datagrams.length}\n`);
  await until("our receiver ends", () => ours.exitCode !== null);
  assert.ok(told.report !== undefined, `our receiver: ${errors.text}`);
  return { capture, aravis: readLog(log), live, liveReport: told.report };
}

interface Block extends Told {
  readonly bytes: Uint8Array;
  readonly missing: Chunk["missing"];
}

/** The blocks of a recording, out of those datagrams that `keeps` keeps. */
async function gathered(
  capture: string,
  keeps: (block: number, packet: number) => boolean,
): Promise<{ blocks: Map<bigint, Block>; datagrams: Set<string> }> {
  const blocks = new Map<bigint, Block>();
  const datagrams = new Set<string>();
  const run = flow(`pcap:${capture}`)
    .filter(ofCamera)
    .stage((burst) => {
      for (const packet of burst) {
        const [block, number] = [packet.u16(44), packet.u32(46) & 0xffffff]; // behind Ethernet, IPv4 and UDP
        datagrams.add(`${block} ${number}`);
        if (!keeps(block, number)) packet.drop("unheard");
      }
    })
    .gather(gatherOptions);
  for await (const chunk of run) {
    const sum = createHash("sha1").update(chunk.bytes).digest("hex");
    blocks.set(chunk.id, { complete: chunk.complete, sum, bytes: chunk.copy(), missing: chunk.missing });
  }
  assert.equal(imbalance(run.report()), 0, JSON.stringify(run.report()));
  return { blocks, datagrams };
}

for (const loss of [0, 20])
  test(`images of Aravis' camera, ${loss === 0 ? "all" : "some"} of them whole, are what Aravis received`, async (t) => {
    const session = await stream(t, loss);
    if (session === undefined) return;
    const { capture, aravis, live, liveReport } = session;
    const { verdicts, received, counted } = aravis;
    assert.ok(verdicts.has(65_535n) && verdicts.has(1n) && !verdicts.has(0n));
    const count = (wanted: string) => [...verdicts.values()].filter((verdict) => verdict === wanted).length;
    assert.equal(count("Completed"), counted.get("n_completed_buffers"));
    assert.equal(count("Incomplete"), counted.get("n_failures"));

    // Of exactly the datagrams that Aravis' receiver had, the same blocks are complete.
    const { blocks, datagrams } = await gathered(capture, (block, packet) =>
      received.has(`${block} ${packet}`),
    );
    for (const datagram of received) assert.ok(datagrams.has(datagram), `${datagram} was not recorded`);
    for (const [id, verdict] of verdicts)
      assert.equal(blocks.get(id)?.complete ?? false, verdict === "Completed", `block ${id}`);
    for (const [id, { complete, bytes, missing }] of blocks) {
      if (complete) assert.equal(bytes.length, WIDTH * HEIGHT);
      const lacks = new Uint8Array(bytes.length);
      for (const { first, count } of missing) lacks.fill(1, first, first + count);
      for (let i = 0; i < bytes.length; i++) {
        const pixel = ((i % WIDTH) + Math.floor(i / WIDTH) + Number(id)) % 255;
        if (!lacks[i]) assert.equal(bytes[i], pixel, `pixel ${i} of block ${id}`);
      }
    }

    // Live, every block of the recording came out as it does from the recording.
    assert.equal(imbalance(liveReport), 0, JSON.stringify(liveReport));
    const all = await gathered(capture, () => true);
    assert.deepEqual(
      [...live].map(([id, { complete, sum }]) => [id, complete, sum]),
      [...all.blocks].map(([id, { complete, sum }]) => [id, complete, sum]),
    );
    assert.ok(all.blocks.size >= verdicts.size);
  });
