import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { convertCapture } from "../../src/ports/pcap/convert.js";
import { summarizeCapture } from "../../src/ports/pcap/summary.js";
import { arena, captures, folder, has, heldFrames, readAll, tsharkRows } from "./kit.js";

const files = captures("captures", "pcapng");

test("every capture has the packets, sizes and times that capinfos finds in it", async (t) => {
  if (!has(t, "capinfos")) return;
  const { stdout, stderr } = spawnSync("capinfos", ["-TQm", "-csdaeoS", ...files], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    env: { ...process.env, TZ: "UTC" },
  });
  const [head, ...rows] = stdout.trim().split("\n").map(fieldsOf);
  // Of link types that it does not know capinfos says nothing; tcpdump does, below.
  const unknown = [...stderr.matchAll(/The file "(.+)" contains record data that/g)].map((match) => match[1]);
  assert.equal(rows.length + unknown.length, files.length, stderr);
  assert.ok(unknown.length < 10 && unknown.every((file) => file.endsWith(".pcap")), stderr);
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

/** Each record of a pcap: nanoseconds, what is more than a second carried over; length on the wire; bytes. */
function recordsOf(bytes: Buffer): unknown[] {
  const unit = bytes.readUInt32LE(0) === 0xa1b23c4d ? 1n : 1000n;
  const records: unknown[] = [];
  for (let at = 24; at < bytes.length; at += 16 + bytes.readUInt32LE(at + 8)) {
    const [seconds, fraction, kept, wire] = [0, 4, 8, 12].map((field) => bytes.readUInt32LE(at + field));
    const time = BigInt(seconds) * 1_000_000_000n + BigInt(fraction) * unit;
    records.push([time, wire || kept, bytes.toString("hex", at + 16, at + 16 + kept)]);
  }
  return records;
}

test("every pcap file is written again byte for byte as tcpdump writes it, or as editcap does", async (t) => {
  if (!has(t, "tcpdump") || !has(t, "editcap")) return;
  const dir = folder(t);
  const [out, other] = [join(dir, "out.pcap"), join(dir, "other.pcap")];
  const compared = { tcpdump: 0, editcap: 0, contradictory: 0 };
  const all = captures("captures").filter((name) => name.endsWith(".pcap"));
  for (const file of all) {
    await convertCapture(arena, file, out, { format: "pcap", nano: true });
    const ours = readFileSync(out);
    const { packets, reader } = await readAll(file);
    const { snaplen } = reader.interfaces[0];
    if (contradictsItself(file)) {
      assert.deepEqual(recordsOf(ours), recordsOf(readFileSync(file)), file);
      compared.contradictory++;
      continue;
    }
    // libpcap cuts what is longer than the file's own snap length; Wireshark, and we, do not.
    if (snaplen > 0 && packets.some(({ bytes }) => bytes.length > snaplen)) {
      execFileSync("editcap", ["-F", "nsecpcap", file, other], { stdio: "pipe" });
      assert.deepEqual(ours.subarray(24), readFileSync(other).subarray(24), file);
      compared.editcap++;
      continue;
    }
    const precision = ["--time-stamp-precision", "nano"];
    const theirs = spawnSync("tcpdump", [...precision, "-r", file, "-w", "-"], { maxBuffer: 2 ** 26 });
    assert.equal(theirs.status, 0, `${file}: ${theirs.stderr}`);
    // The two may differ in the snap length that the head names.
    assert.deepEqual(ours.subarray(20), theirs.stdout.subarray(20), file);
    compared.tcpdump++;
  }
  assert.equal(compared.tcpdump + compared.editcap + compared.contradictory, all.length);
  assert.ok(compared.tcpdump > 340 && compared.contradictory < 10, JSON.stringify(compared));
});

test("pcapng packets have the times, lengths, interfaces and comments that tshark finds", async (t) => {
  if (!has(t, "tshark")) return;
  for (const file of files.filter((name) => name.endsWith(".pcapng"))) await compareWithTshark(file);
});

async function compareWithTshark(file: string): Promise<void> {
  const comments = new Map<number, string>();
  const summary = await summarizeCapture(arena, file);
  for (const { packet, text } of summary.comments)
    comments.set(packet, [comments.get(packet), text].filter(Boolean).join(","));
  const { packets, reader, error } = await readAll(file);
  assert.equal(error, undefined, file);
  const ours = packets.map(({ bytes, wire, time, peer }, i) => {
    const { index, section } = reader.interfaces[peer];
    return [time, bytes.length, wire, index, section, comments.get(i + 1) ?? ""].map(String);
  });
  assert.deepEqual(ours, tsharkRows(file), file);
}
