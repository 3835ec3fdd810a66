import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { imbalance, type Report } from "../../src/flow/report.js";
import { until } from "../kit/until.js";

const folder = mkdtempSync(join(tmpdir(), "millrace-gather-"));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);
const MAIN = new URL("../../lib/millrace.js", import.meta.url).pathname;

/** Runs a command to its end. */
function millrace(...words: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, ...words], { encoding: "utf8", maxBuffer: 2 ** 26 });
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly status: number | null; readonly out: string; readonly err: string }>;
}

function start(...words: readonly string[]): Running {
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  child.stderr.on("data", (text) => {
    err += text;
  });
  return { child, ended: once(child, "close").then(([status]) => ({ status, out, err })) };
}

function reportIn(text: string): Report {
  const report = JSON.parse(text.trim().split("\n").pop() as string) as Report;
  assert.equal(imbalance(report), 0, text);
  return report;
}

/** Waits until somebody listens on a UDP port of this machine (proc_net_udp: local address in hexadecimal). */
async function listening(port: number): Promise<void> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  await until(`somebody listens on UDP port ${port}`, () =>
    readFileSync("/proc/net/udp", "utf8").includes(wanted),
  );
}

/** Waits until files hold so many bytes together. */
async function written(bytes: number, ...files: readonly string[]): Promise<void> {
  const size = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const sum = () => files.reduce((sum, file) => sum + size(file), 0);
  await until(
    () => `${files.join(" and ")} hold ${bytes} bytes, not ${sum()}`,
    () => sum() >= bytes,
  );
}

function has(program: string): boolean {
  return spawnSync("which", [program]).status === 0;
}

/** A transport stream of some seconds, made by ffmpeg from its own test source. */
function makeProgramme(): string {
  const file = path("programme.ts");
  const made = spawnSync("ffmpeg", [
    ...["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "8"],
    ...["-c:v", "mpeg2video", "-b:v", "2M", "-muxrate", "3M", "-f", "mpegts", file],
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  return file;
}

test("GStreamer sends a transport stream as RTP; millrace gathers it byte for byte, live and from tcpdump's capture", async (t) => {
  if (!has("ffmpeg") || !has("tcpdump") || !has("gst-launch-1.0"))
    return t.skip("ffmpeg, tcpdump and gst-launch-1.0 are needed");
  if (process.getuid?.() !== 0) return t.skip("tcpdump on loopback needs CAP_NET_RAW");
  const programme = makeProgramme();
  const capture = path("rtp.pcap");
  const dump = spawn("tcpdump", ["-i", "lo", "-B", "32768", "-U", "-w", capture, "udp port 45210"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    await once(dump.stderr, "data");
    const out = path("live.ts");
    const gather = start(
      "gather",
      "--from",
      "udp://127.0.0.1:45210",
      "--layout",
      "rtp",
      "--gap",
      "skip",
      "--to",
      `file:${out}`,
      "--json",
    );
    await listening(45210);
    const sent = spawnSync("gst-launch-1.0", [
      ...["-q", "filesrc", `location=${programme}`, "blocksize=1316", "!"],
      ...["video/mpegts,systemstream=true,packetsize=188", "!", "rtpmp2tpay", "!"],
      ...["udpsink", "host=127.0.0.1", "port=45210", "sync=false"],
    ]);
    assert.equal(sent.status, 0, String(sent.stderr));
    await written(statSync(programme).size, out);
    gather.child.kill("SIGINT");
    const { status, out: json, err } = await gather.ended;
    assert.equal(status, 0, err);
    const report = reportIn(json);
    assert.equal(report.gaps.datagrams, 0);
    const gathered = readFileSync(out);
    assert.ok(gathered.length > 1e6);
    assert.ok(gathered.equals(readFileSync(programme)), "the file differs from what was sent");
    const { packets, bytes } = report.received;
    await written(24 + packets * (16 + 14 + 20 + 8) + bytes, capture); // heads of file, record, Ethernet, IP and UDP
    dump.kill("SIGINT");
    await once(dump, "close");
    const replay = millrace(
      "gather",
      "--from",
      capture,
      "--layout",
      "rtp",
      "--gap",
      "skip",
      "--to",
      `file:${path("captured.ts")}`,
      "--json",
    );
    assert.equal(replay.status, 0, replay.stderr);
    reportIn(replay.stdout);
    assert.ok(readFileSync(path("captured.ts")).equals(gathered));
  } finally {
    dump.kill("SIGKILL");
  }
});

test("what scatter sends gather writes, a file each chunk, words swapped on the way", async () => {
  const source = randomFillSync(new Uint8Array(1_000_000));
  writeFileSync(path("frames.bin"), source);
  const gather = start(
    "gather",
    "--from",
    "udp://127.0.0.1:45211",
    "--layout",
    "gvsp",
    "--swap",
    "16",
    "--to",
    `file:${path("frame-%04d.raw")}`,
    "--count",
    "4",
    "--json",
  );
  await listening(45211);
  const sent = millrace(
    "scatter",
    "--from",
    path("frames.bin"),
    "--to",
    "udp://127.0.0.1:45211",
    "--layout",
    "gvsp",
    "--chunk-size",
    "250000",
    "--rate",
    "200mbit",
    "--json",
  );
  assert.equal(sent.status, 0, sent.stderr);
  reportIn(sent.stdout);
  const { status, out, err } = await gather.ended;
  assert.equal(status, 0, err);
  assert.equal(reportIn(out).chunks.complete, 4);
  const frames = readdirSync(folder)
    .filter((name) => name.startsWith("frame-"))
    .sort();
  assert.deepEqual(frames, ["frame-0000.raw", "frame-0001.raw", "frame-0002.raw", "frame-0003.raw"]);
  const joined = Buffer.concat(frames.map((name) => readFileSync(path(name))));
  assert.ok(joined.swap16().equals(Buffer.from(source)));
});

test("streams of many senders are spread over workers, and each comes out whole", async () => {
  const source = randomFillSync(new Uint8Array(300_000));
  writeFileSync(path("streams.bin"), source);
  const gather = start(
    ...[
      "gather",
      "--from",
      "udp://127.0.0.1:45215",
      "--layout",
      "rtp",
      "--to",
      `file:${path("worker-%w.bin")}`,
    ],
    ...["--workers", "2", "--json"],
  );
  await listening(45215);
  for (let sender = 0; sender < 6; sender++) {
    const sent = millrace(
      ...["scatter", "--from", path("streams.bin"), "--to", "udp://127.0.0.1:45215", "--layout", "rtp"],
      ...["--field", `ssrc=${sender}`, "--rate", "200mbit", "--json"],
    );
    assert.equal(sent.status, 0, sent.stderr);
  }
  const files = [path("worker-0.bin"), path("worker-1.bin")];
  await written(6 * source.length, ...files);
  gather.child.kill("SIGINT");
  const { status, out, err } = await gather.ended;
  assert.equal(status, 0, err);
  assert.equal(reportIn(out).chunks.complete, 6);
  const contents = files.map((file) => readFileSync(file));
  assert.equal(contents[0].length + contents[1].length, 6 * source.length);
  assert.ok(
    contents.every(({ length }) => length > 0),
    "both workers had streams",
  );
  for (const bytes of contents)
    for (let at = 0; at < bytes.length; at += source.length)
      assert.ok(bytes.subarray(at, at + source.length).equals(Buffer.from(source)));
});

test("a capture is gathered into standard output, and the report then goes to standard error", () => {
  const run = spawnSync(
    process.execPath,
    [
      MAIN,
      "gather",
      "--from",
      "test/data/gather/rtp-mp2t-ffmpeg.pcap",
      "--layout",
      "rtp",
      "--to",
      "-",
      "--json",
    ],
    { maxBuffer: 2 ** 26 },
  );
  assert.equal(run.status, 0);
  assert.equal(run.stdout.length, 287 * 1316);
  for (let at = 0; at < run.stdout.length; at += 188) assert.equal(run.stdout[at], 0x47);
  assert.equal(reportIn(String(run.stderr)).delivered.packets, 287);
});

test("a chunk goes out reframed, with headers from a template, and tcpdump finds its checksums right", (t) => {
  if (!has("tcpdump")) return t.skip("tcpdump is needed");
  const out = path("reframed.pcap");
  const run = millrace(
    ...[
      "gather",
      "--from",
      "test/data/gather/rtp-mp2t-ffmpeg.pcap",
      "--layout",
      "rtp",
      "--to",
      `pcap:${out}`,
    ],
    ...[
      "--header",
      "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)/vlan(id=7)/ipv4(src=10.0.0.1,dst=10.0.0.2)/udp(sport=4000,dport=5000)",
    ],
    ...["--datagram-size", "1000", "--json"],
  );
  assert.equal(run.status, 0, run.stderr);
  const report = reportIn(run.stdout);
  const text = spawnSync("tcpdump", ["-r", out, "-nnvve"], { encoding: "utf8", maxBuffer: 2 ** 26 }).stdout;
  assert.equal(text.match(/vlan 7/g)?.length, report.transmitted.packets);
  assert.equal(text.match(/udp sum ok/g)?.length, report.transmitted.packets);
  assert.doesNotMatch(text, /bad cksum|bad udp/);
});

test("wrong words end with status 2 and one clear line; what cannot be read or written with status 1", () => {
  const cases: [number, RegExp, ...string[]][] = [
    [2, /required option/, "gather", "--from", "loop:a", "--to", "-"],
    [2, /no layout is named/, "gather", "--from", "udp://127.0.0.1:1", "--to", "-", "--layout", "nonesuch"],
    [2, /nothing ends a chunk/, "gather", "--from", "udp://127.0.0.1:45213", "--to", "-", "--layout", "raw"],
    [
      2,
      /numbers datagrams only/,
      "gather",
      "--from",
      "udp://127.0.0.1:45213",
      "--to",
      "-",
      "--layout",
      "rtp",
      "--gap",
      "zero",
    ],
    [2, /no kind of port/, "gather", "--from", "pigeon:a", "--to", "-", "--layout", "rtp"],
    [
      2,
      /is no rate/,
      "scatter",
      "--from",
      MAIN,
      "--to",
      "udp://127.0.0.1:45213",
      "--layout",
      "rtp",
      "--rate",
      "900",
    ],
    [
      1,
      /does not exist|cannot be read|ENOENT/,
      "gather",
      "--from",
      "/nowhere/in.pcap",
      "--to",
      "-",
      "--layout",
      "rtp",
    ],
    [
      1,
      /cannot be written/,
      "gather",
      "--from",
      "test/data/gather/rtp-mp2t-ffmpeg.pcap",
      "--to",
      "file:/nowhere/out",
      "--layout",
      "rtp",
    ],
    [
      1,
      /ENOSPC|no space/i,
      "gather",
      "--from",
      "test/data/gather/rtp-mp2t-ffmpeg.pcap",
      "--to",
      "file:/dev/full",
      "--layout",
      "rtp",
    ],
  ];
  for (const [status, line, ...words] of cases) {
    const run = millrace(...words);
    assert.equal(run.status, status, `${words.join(" ")}: ${run.stderr}`);
    assert.match(run.stderr, line);
    assert.doesNotMatch(run.stderr, /\n\s+at /, "a stack is not for users");
  }
});

test("a pipe whose reader goes away ends the command with status 1 and a line that says so", () => {
  const run = spawnSync(
    "bash",
    [
      "-c",
      `"${process.execPath}" "${MAIN}" gather --from test/data/gather/rtp-mp2t-ffmpeg.pcap --layout rtp --to - | head -c 1000 >/dev/null; echo "status \${PIPESTATUS[0]}"`,
    ],
    { encoding: "utf8" },
  );
  // The pipe holds 64 KiB, the stream 370 KiB.
  assert.match(run.stdout, /status 1/);
  assert.match(run.stderr, /standard output cannot be written/);
});

test("a transform that throws ends the flow with the chunk's name, and nothing leaks", () => {
  writeFileSync(
    path("broken.mjs"),
    "export function transform(chunk) { if (chunk.id === 3n) throw new Error('no'); }",
  );
  const run = millrace(
    "gather",
    "--from",
    "test/data/gather/rtp-mp2t-ffmpeg.pcap",
    "--layout",
    "rtp",
    "--to",
    "file:/dev/null",
    "--transform",
    path("broken.mjs"),
  );
  assert.equal(run.status, 1);
  assert.match(run.stderr, /the transform failed on chunk 3 of .*: no/);
});

test("SIGKILL mid-run leaves what was written readable, and the port free", async () => {
  const out = path("killed.bin");
  const gather = start(
    "gather",
    "--from",
    "udp://127.0.0.1:45214",
    "--layout",
    "raw",
    "--chunk-size",
    "64K",
    "--to",
    `file:${out}`,
  );
  await listening(45214);
  writeFileSync(path("big.bin"), randomFillSync(new Uint8Array(4_000_000)));
  millrace(
    "scatter",
    "--from",
    path("big.bin"),
    "--to",
    "udp://127.0.0.1:45214",
    "--layout",
    "raw",
    "--rate",
    "400mbit",
  );
  await written(1, out);
  gather.child.kill("SIGKILL");
  await gather.ended;
  const left = readFileSync(out);
  assert.ok(left.equals(readFileSync(path("big.bin")).subarray(0, left.length)));
  const again = start(
    "gather",
    "--from",
    "udp://127.0.0.1:45214",
    "--layout",
    "rtp",
    "--to",
    "file:/dev/null",
  );
  await listening(45214);
  again.child.kill("SIGTERM");
  assert.equal((await again.ended).status, 0);
});
