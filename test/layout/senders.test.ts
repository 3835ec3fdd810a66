// Senders that no one here wrote: video that ffmpeg and GStreamer send as RFC 4175, against the same pictures
// as raw video.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createArena } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import type { GatherOptions } from "../../src/flow/gather-options.js";
import { openPort } from "../../src/flow/port.js";

const WIDTH = 320;
const HEIGHT = 240;
const FRAMES = 10;
const source = ["-f", "lavfi", "-i", `testsrc2=size=${WIDTH}x${HEIGHT}:rate=25`, "-frames:v", String(FRAMES)];
const uyvy = { layout: "rfc4175", parameters: { stride: 2 * WIDTH, pixel: 2 } };

/** False where a program is not installed: the test is skipped with that reason. */
function installed(t: TestContext, ...programs: readonly string[]): boolean {
  const missing = programs.filter((program) => spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0);
  if (missing.length > 0) t.skip(`${missing.join(", ")} not installed`);
  return missing.length === 0;
}

function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "millrace-senders-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function freePort(): Promise<number> {
  const socket = createSocket("udp4").bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  return port;
}

/** Starts a sender towards a UDP port that is open already; keeps the first `count` chunks. */
async function gatherFrom(
  t: TestContext,
  command: (port: number) => readonly string[],
  options: GatherOptions,
  count: number,
): Promise<Uint8Array[]> {
  const number = await freePort();
  const port = await openPort(`udp://127.0.0.1:${number}`, {
    arena: createArena({ bytes: 128 * 2 ** 20 }),
    direction: "in",
    signal: AbortSignal.timeout(60_000),
  });
  t.after(() => port.close());
  const [program, ...args] = command(number);
  const sender = spawn(program, args, { stdio: "ignore" });
  t.after(() => sender.kill("SIGKILL"));
  const chunks: Uint8Array[] = [];
  for await (const chunk of flow(port).gather(options)) {
    assert.ok(chunk.complete, `chunk ${chunk.id} lacks ${JSON.stringify(chunk.missing)}`);
    chunks.push(chunk.copy());
    if (chunks.length === count) break;
  }
  return chunks;
}

/** The same pictures as raw video, by ffmpeg. */
function rawVideo(file: string): Buffer {
  execFileSync("ffmpeg", ["-v", "error", ...source, "-pix_fmt", "uyvy422", "-f", "rawvideo", file]);
  return readFileSync(file);
}

function assertFrames(frames: readonly Uint8Array[], raw: Buffer, bytes: number): void {
  assert.equal(raw.length, frames.length * bytes);
  frames.forEach((frame, index) => {
    assert.ok(raw.subarray(index * bytes, (index + 1) * bytes).equals(frame), `frame ${index}`);
  });
}

test("video that ffmpeg sends as RFC 4175 is its raw video byte for byte", async (t) => {
  if (!installed(t, "ffmpeg")) return;
  const raw = rawVideo(join(scratch(t), "raw"));
  const rtp = (port: number) => `rtp://127.0.0.1:${port}?pkt_size=1400`;
  const send = [
    "ffmpeg",
    "-v",
    "error",
    "-re",
    ...source,
    "-pix_fmt",
    "uyvy422",
    "-c:v",
    "rawvideo",
    "-f",
    "rtp",
  ];
  const frames = await gatherFrom(t, (port) => [...send, rtp(port)], uyvy, FRAMES);
  assertFrames(frames, raw, 2 * WIDTH * HEIGHT);
});

test("video that GStreamer sends as RFC 4175 is ffmpeg's raw video byte for byte", async (t) => {
  if (!installed(t, "ffmpeg", "gst-launch-1.0")) return;
  const file = join(scratch(t), "raw");
  const raw = rawVideo(file);
  const parse = `rawvideoparse format=uyvy width=${WIDTH} height=${HEIGHT} framerate=25/1`;
  const pipeline = (port: number) =>
    `filesrc location=${file} ! ${parse} ! rtpvrawpay ! udpsink host=127.0.0.1 port=${port} sync=true`;
  const frames = await gatherFrom(
    t,
    (port) => ["gst-launch-1.0", "-q", ...pipeline(port).split(" ")],
    uyvy,
    FRAMES,
  );
  assertFrames(frames, raw, 2 * WIDTH * HEIGHT);
});

test("10-bit video of GStreamer keeps its groups of 5 bytes for 2 pixels", async (t) => {
  if (!installed(t, "gst-launch-1.0")) return;
  const file = join(scratch(t), "raw");
  const caps = `video/x-raw,format=UYVP,width=${WIDTH},height=${HEIGHT},framerate=25/1`;
  const pipeline = (port: number) =>
    `videotestsrc num-buffers=${FRAMES} pattern=ball ! ${caps} ! tee name=t ` +
    `t. ! queue ! rtpvrawpay ! udpsink host=127.0.0.1 port=${port} sync=true t. ! queue ! filesink location=${file} sync=false`;
  const frames = await gatherFrom(
    t,
    (port) => ["gst-launch-1.0", "-q", ...pipeline(port).split(" ")],
    { layout: "rfc4175", parameters: { stride: 2.5 * WIDTH, pixel: 2.5 } },
    FRAMES,
  );
  // The pipeline writes a frame's file before or after it sends it.
  const bytes = 2.5 * WIDTH * HEIGHT;
  for (let tries = 0; tries < 100 && readFileSync(file).length < FRAMES * bytes; tries++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assertFrames(frames, readFileSync(file), bytes);
});
