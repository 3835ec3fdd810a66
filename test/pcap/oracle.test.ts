import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { convertCapture } from "../../src/ports/pcap/convert.js";
import { summarizeCapture } from "../../src/ports/pcap/summary.js";
import { arena, captures, folder, heldFrames, readAll } from "./kit.js";

function has(t: TestContext, tool: string): boolean {
  const missing = spawnSync(tool, ["--version"]).error !== undefined;
  if (missing) t.skip(`${tool} is not installed`);
  return !missing;
}

const files = captures("captures", "pcapng");

test("every capture has the packets, sizes and times that capinfos finds in it", async (t) => {
  if (!has(t, "capinfos")) return;
  const { stdout } = spawnSync("capinfos", ["-TQm", "-csdaeoS", ...files], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    env: { ...process.env, TZ: "UTC" },
  });
  const [head, ...rows] = stdout.trim().split("\n").map(fieldsOf);
  assert.ok(rows.length > 400, `capinfos read ${rows.length} files`);
  for (const row of rows) {
    const told = new Map(head.map((name, i) => [name, row[i]]));
    const file = row[0];
    const ours = await summarizeCapture(arena, file);
    assert.equal(ours.fault, undefined, file);
    assert.equal(String(ours.packets), told.get("Number of packets"), file);
    assert.equal(String(ours.fileSize), told.get("File size (bytes)"), file);
    if (contradictsItself(file)) continue;
    // Wireshark takes pseudo-headers of SunATM and the like for no part of the packet.
    if (PSEUDO_HEADERS.has(ours.interfaces[0]?.linkType ?? 1)) continue;
    assert.equal(String(ours.wireBytes), told.get("Data size (bytes)"), file);
    const start = told.get("Start time") ?? "";
    // Records without a time make capinfos say n/a for all.
    if (start === "n/a" || ours.first === undefined || ours.last === undefined) continue;
    const time = ({ seconds, nanoseconds }: { seconds: number; nanoseconds: number }) =>
      `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
    assert.ok(time(ours.first).startsWith(start), `${file}: starts at ${start}, not ${time(ours.first)}`);
    assert.ok(time(ours.last).startsWith(told.get("End time") ?? "?"), file);
    assert.equal(ours.strictTimeOrder ? "True" : "False", told.get("Strict time order"), file);
  }
  assert.equal(heldFrames(), 0);
});

// Files whose records cannot be: bytes of which none was on the wire (we take them for the length), or more
// than a second's fraction (we carry it over; others let it overflow).
function contradictsItself(file: string): boolean {
  const bytes = readFileSync(file);
  const units = new Map([
    [0xa1b2c3d4, 1e6],
    [0xa1b23c4d, 1e9],
  ]).get(bytes.readUInt32LE(0));
  if (units === undefined) return false;
  for (let at = 24; at + 16 <= bytes.length; at += 16 + bytes.readUInt32LE(at + 8))
    if (
      (bytes.readUInt32LE(at + 8) > 0 && bytes.readUInt32LE(at + 12) === 0) ||
      bytes.readUInt32LE(at + 4) >= units
    )
      return true;
  return false;
}
const PSEUDO_HEADERS = new Set([123, 139, 187, 197, 201, 204]);

function fieldsOf(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"/g)].map((match) => match[1]);
}

test("every pcap file is written again byte for byte as tcpdump writes it", async (t) => {
  if (!has(t, "tcpdump")) return;
  const out = join(folder(t), "out.pcap");
  let compared = 0;
  for (const file of captures("captures").filter((name) => name.endsWith(".pcap"))) {
    const precision = ["--time-stamp-precision", "nano"];
    const theirs = spawnSync("tcpdump", [...precision, "-r", file, "-w", "-"], { maxBuffer: 2 ** 26 });
    if (theirs.status !== 0 || contradictsItself(file)) continue;
    await convertCapture(arena, file, out, { format: "pcap", nano: true });
    const ours = readFileSync(out);
    const { packets, reader } = await readAll(file);
    const { snaplen } = reader.interfaces[0];
    // libpcap cuts what is longer than the file's own snap length; Wireshark, and we, do not.
    if (snaplen > 0 && packets.some(({ bytes }) => bytes.length > snaplen)) continue;
    // The two may differ in the snap length that the head names.
    assert.deepEqual(ours.subarray(20), theirs.stdout.subarray(20), file);
    compared++;
  }
  assert.ok(compared > 340, `${compared} files compared`);
});

test("pcapng packets have the times, lengths, interfaces and comments that tshark finds", async (t) => {
  if (!has(t, "tshark")) return;
  for (const file of captures("pcapng")) await compareWithTshark(file, file);
});

test("what convert writes is to tshark what it was before", async (t) => {
  if (!has(t, "tshark")) return;
  const out = join(folder(t), "out.pcapng");
  for (const number of ["006", "008", "009", "012", "016", "101", "202"]) {
    const file = `test/data/pcapng/test${number}.pcapng`;
    await convertCapture(arena, file, out, { format: "pcapng" });
    await compareWithTshark(out, out);
    assert.deepEqual(tshark(out), tshark(file), file);
  }
});

/** Rows of tshark: time, bytes kept, bytes on the wire, interface in its section, section, comments. */
function tshark(file: string): string[][] {
  const names = ["time_epoch", "cap_len", "len", "interface_id", "section_number", "comment"];
  const fields = names.flatMap((name) => ["-e", `frame.${name}`]);
  const text = execFileSync("tshark", ["-n", "-r", file, "-T", "fields", ...fields], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const rows = text.split("\n").filter((line) => line !== "");
  // Custom blocks come as frames without an interface; they are no packets.
  return rows.map((line) => line.split("\t")).filter((row) => row[3] !== "");
}

async function compareWithTshark(file: string, name: string): Promise<void> {
  const comments = new Map<number, string>();
  const summary = await summarizeCapture(arena, file);
  for (const { packet, text } of summary.comments)
    comments.set(packet, [comments.get(packet), text].filter(Boolean).join(","));
  const { packets, reader, error } = await readAll(file);
  assert.equal(error, undefined, name);
  const ours = packets.map(({ bytes, wire, time, peer }, i) => {
    const { index, section } = reader.interfaces[peer];
    return [time, bytes.length, wire, index, section, comments.get(i + 1) ?? ""].map(String);
  });
  assert.deepEqual(ours, tshark(file), name);
}
