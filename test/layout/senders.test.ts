// Senders that no one here wrote, against what they were given to send: received live, and from what tcpdump
// recorded of them.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createArena } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import type { GatherOptions } from "../../src/flow/gather-options.js";
import { openPort } from "../../src/flow/port.js";
import { ip, makeNamespaces, makeVeth, runIn } from "../kit/netns.js";
import { until } from "../kit/until.js";
import { datagramsSent, record } from "./capture.js";

const WIDTH = 320;
const HEIGHT = 240;
const FRAMES = 10;
const source = ["-f", "lavfi", "-i", `testsrc2=size=${WIDTH}x${HEIGHT}:rate=25`, "-frames:v", String(FRAMES)];
const quietly = ["ffmpeg", "-v", "error", "-nostdin"];
/** Nothing but the stream itself ends the waiting: a busy machine may stop a sender in mid-frame. */
const patient = { timeout: 600_000 };
const uyvy = { layout: "rfc4175", parameters: { stride: 2 * WIDTH, pixel: 2 }, ...patient };
const uyvp = { layout: "rfc4175", parameters: { stride: 2.5 * WIDTH, pixel: 2.5 }, ...patient };

interface Sender {
  readonly name: string;
  readonly programs: readonly string[];
  readonly options: GatherOptions;
  /** Makes what is to be sent, where the sender does not make it itself. */
  prepare?(file: string): void;
  /** Sends `file`, or writes to it what it sends. */
  command(file: string, host: string, port: number): readonly string[];
  /** Bytes of each chunk, where that is known before. */
  readonly chunkBytes?: number;
}

function gstreamer(pipeline: string): string[] {
  return ["gst-launch-1.0", "-q", ...pipeline.split(" ")];
}

/** The pictures as raw video, by ffmpeg. */
function rawVideo(file: string): void {
  const [ffmpeg, ...quiet] = quietly;
  execFileSync(ffmpeg, [...quiet, ...source, "-pix_fmt", "uyvy422", "-f", "rawvideo", file]);
}

/** Half a second of transport stream, by ffmpeg: as much as any receive buffer holds, in whole datagrams of seven packets. */
function programme(file: string): void {
  const [ffmpeg, ...quiet] = quietly;
  execFileSync(ffmpeg, [
    ...[...quiet, "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "0.5"],
    ...["-c:v", "mpeg2video", "-b:v", "1M", "-f", "mpegts", file],
  ]);
  truncateSync(file, statSync(file).size - (statSync(file).size % 1316));
}

const senders: readonly Sender[] = [
  {
    name: "video that ffmpeg sends as RFC 4175",
    programs: ["ffmpeg"],
    options: uyvy,
    prepare: rawVideo,
    command: (_, host, port) => [
      ...[...quietly, "-re", ...source, "-pix_fmt", "uyvy422", "-c:v", "rawvideo", "-f", "rtp"],
      `rtp://${host}:${port}?pkt_size=1400`,
    ],
    chunkBytes: 2 * WIDTH * HEIGHT,
  },
  {
    name: "video of ffmpeg's that GStreamer sends as RFC 4175",
    programs: ["ffmpeg", "gst-launch-1.0"],
    options: uyvy,
    prepare: rawVideo,
    command: (file, host, port) =>
      gstreamer(
        `filesrc location=${file} ! rawvideoparse format=uyvy width=${WIDTH} height=${HEIGHT} framerate=25/1 ` +
          `! rtpvrawpay ! udpsink host=${host} port=${port} sync=true`,
      ),
    chunkBytes: 2 * WIDTH * HEIGHT,
  },
  {
    name: "10-bit video of GStreamer's, 5 bytes for 2 pixels,",
    programs: ["gst-launch-1.0"],
    options: uyvp,
    command: (file, host, port) =>
      gstreamer(
        `videotestsrc num-buffers=${FRAMES} pattern=ball ! ` +
          `video/x-raw,format=UYVP,width=${WIDTH},height=${HEIGHT},framerate=25/1 ! tee name=t ` +
          `t. ! queue ! rtpvrawpay ! udpsink host=${host} port=${port} sync=true ` +
          `t. ! queue ! filesink location=${file} sync=false`,
      ),
    chunkBytes: 2.5 * WIDTH * HEIGHT,
  },
  {
    name: "a transport stream that GStreamer sends as RTP",
    programs: ["ffmpeg", "gst-launch-1.0"],
    options: { layout: "rtp", ...patient },
    prepare: programme,
    command: (file, host, port) =>
      gstreamer(
        `filesrc location=${file} blocksize=1316 ! video/mpegts,systemstream=true,packetsize=188 ! ` +
          `rtpmp2tpay ! udpsink host=${host} port=${port} sync=false`,
      ),
  },
  {
    name: "a file that GStreamer sends as datagrams with no header",
    programs: ["ffmpeg", "gst-launch-1.0"],
    options: { layout: "raw", chunkSize: 10_000, ...patient },
    prepare: programme,
    command: (file, host, port) =>
      gstreamer(`filesrc location=${file} blocksize=1316 ! udpsink host=${host} port=${port} sync=false`),
  },
];

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

/** All that came is all that was sent, in order, in chunks of the size they should have. */
function assertSent(chunks: readonly Uint8Array[], file: string, { chunkBytes }: Sender): void {
  const sent = readFileSync(file);
  const came = Buffer.concat(chunks);
  assert.equal(came.length, sent.length);
  if (chunkBytes !== undefined) for (const chunk of chunks) assert.equal(chunk.length, chunkBytes);
  const odd = came.findIndex((byte, index) => byte !== sent[index]);
  assert.ok(odd < 0, `byte ${odd} of ${came.length}`);
}

for (const sender of senders) {
  const { name, programs, options, prepare, command } = sender;

  test(`${name} is received byte for byte`, async (t) => {
    if (!installed(t, ...programs)) return;
    const file = join(scratch(t), "sent");
    prepare?.(file);
    const number = await freePort();
    const port = await openPort(`udp://127.0.0.1:${number}`, {
      arena: createArena({ bytes: 128 * 2 ** 20 }),
      direction: "in",
    });
    t.after(() => port.close());
    const chunks: Uint8Array[] = [];
    const end = new AbortController();
    const run = flow(port)
      .gather(options)
      .transform((chunk) => {
        assert.ok(chunk.complete, `chunk ${chunk.id} lacks ${JSON.stringify(chunk.missing)}`);
        if (chunk.length > 1) chunks.push(chunk.copy()); // else what is sent last, below
      });
    const done = run.to("file:/dev/null", { until: end.signal });
    const [program, ...args] = command(file, "127.0.0.1", number);
    const child = spawn(program, args, { stdio: "ignore" });
    t.after(() => child.kill("SIGKILL"));
    assert.deepEqual(await once(child, "exit"), [0, null]);
    // A last datagram, of no RTP and of another sender, stands behind all others in the socket's queue.
    const last = createSocket("udp4");
    last.send(Uint8Array.of(0), number, "127.0.0.1", () => last.close());
    await until("all was received", () => {
      const { dropped, streams } = run.report();
      return streams > 1 || (dropped.other ?? 0) > 0;
    });
    end.abort();
    const report = await done;
    assert.equal(report.dropped.kernel ?? 0, 0);
    assertSent(chunks, file, sender);
  });

  test(`${name} comes out byte for byte from what tcpdump recorded`, async (t) => {
    if (!installed(t, ...programs, "tcpdump")) return;
    const spaces = makeNamespaces(t, "sender", "wire");
    if (spaces === undefined) return;
    makeVeth(
      { namespace: spaces.sender, name: "vout", addresses: ["10.9.1.1/24"] },
      { namespace: spaces.wire, name: "vin" },
    );
    // Nobody has the address, so nobody answers that the port is closed.
    ip("-n", spaces.sender, "neigh", "add", "10.9.1.2", "lladdr", "02:00:00:00:00:02", "dev", "vout");
    const folder = scratch(t);
    const [file, capture] = [join(folder, "sent"), join(folder, "sent.pcap")];
    prepare?.(file);
    const recorded = await record(t, spaces.wire, "vin", capture);
    const [program, ...args] = command(file, "10.9.1.2", 5004);
    runIn(spaces.sender, program, ...args);
    await recorded(() => datagramsSent(spaces.sender));
    const chunks: Uint8Array[] = [];
    for await (const chunk of flow(`pcap:${capture}`).gather({ ...options, udpPort: 5004 })) {
      assert.ok(chunk.complete, `chunk ${chunk.id} lacks ${JSON.stringify(chunk.missing)}`);
      chunks.push(chunk.copy());
    }
    assertSent(chunks, file, sender);
  });
}
