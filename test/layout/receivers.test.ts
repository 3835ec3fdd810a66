// A receiver that no one here wrote, GStreamer, of what `millrace scatter` sends.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "../kit/until.js";

const main = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));
/** So few that the smallest receive buffer holds all datagrams, however late GStreamer reads them. */
const PICTURES = 3;

/** The port of a process' UDP socket, once it has one. */
function portOf(pid: number): number | undefined {
  const folder = `/proc/${pid}/fd`;
  const inodes = readdirSync(folder).flatMap((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(join(folder, fd)))?.slice(1) ?? [];
    } catch {
      return []; // closed meanwhile
    }
  });
  for (const line of readFileSync("/proc/net/udp", "utf8").trim().split("\n").slice(1)) {
    const [, local, , , , , , , , inode] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.split(":")[1], 16);
    if (inodes.includes(inode) && port > 0) return port;
  }
  return undefined;
}

for (const { what, width, height, pixel, sampling, depth } of [
  { what: "8 bit", width: 644, height: 16, pixel: 2, sampling: "YCbCr-4:2:2", depth: 8 },
  { what: "10 bit", width: 648, height: 16, pixel: 2.5, sampling: "YCbCr-4:2:2", depth: 10 },
  { what: "RGB", width: 100, height: 32, pixel: 3, sampling: "RGB", depth: 8 },
  {
    what: "8 bit, three rows a datagram",
    width: 64,
    height: 32,
    pixel: 2,
    sampling: "YCbCr-4:2:2",
    depth: 8,
  },
])
  test(`GStreamer receives video that scatter sends as RFC 4175 byte for byte: ${what}`, async (t) => {
    if (spawnSync("sh", ["-c", "command -v gst-launch-1.0"]).status !== 0) {
      t.skip("gst-launch-1.0 is not installed");
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), "millrace-receivers-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const [sent, received] = [join(folder, "sent"), join(folder, "received")];
    const stride = width * pixel;
    const video = Uint8Array.from(
      { length: PICTURES * stride * height },
      (_, i) => (i * 31 + (i >> 8)) & 255,
    );
    writeFileSync(sent, video);
    const caps = [
      ...["application/x-rtp", "media=video", "clock-rate=90000", "encoding-name=RAW", "payload=96"],
      ...[`sampling=${sampling}`, `depth=(string)${depth}`, `width=(string)${width}`],
      `height=(string)${height}`,
    ].join(",");
    const pipeline = [
      ...["udpsrc", "address=127.0.0.1", "port=0", `caps=${caps}`, "!", "rtpvrawdepay", "!"],
      ...["filesink", `location=${received}`, "buffer-mode=unbuffered", "sync=false"],
    ];
    const receiver = spawn("gst-launch-1.0", ["-q", ...pipeline], { stdio: ["ignore", "ignore", "pipe"] });
    t.after(() => receiver.kill("SIGKILL"));
    let told = "";
    receiver.stderr.on("data", (text) => {
      told += String(text);
    });
    const alive = () => assert.equal(receiver.exitCode, null, told);
    let port: number | undefined;
    await until("GStreamer has its socket", () => {
      alive();
      port = portOf(receiver.pid as number);
      return port !== undefined;
    });
    const parameters = ["--parameter", `stride=${stride}`, "--parameter", `pixel=${pixel}`];
    const scatter = spawnSync(
      process.execPath,
      [
        ...[main, "scatter", "--from", sent, "--to", `udp://127.0.0.1:${port}`, "--layout", "rfc4175"],
        ...[...parameters, "--chunk-size", String(stride * height)],
      ],
      { encoding: "utf8" },
    );
    assert.equal(scatter.status, 0, scatter.stderr);
    await until("GStreamer has written all pictures", () => {
      alive();
      return (statSync(received, { throwIfNoEntry: false })?.size ?? 0) >= video.length;
    });
    assert.ok(readFileSync(received).equals(video), "what came is not what was sent");
  });
