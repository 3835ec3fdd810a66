// What QEMU captured on the cables, judged by tshark once the guest is gone.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { PLACES } from "../rig.js";

const out = process.env.MILLRACE_VM_OUT ?? "";

/** Fields of the frames that pass a display filter, a line each, every checksum verified. */
function tshark(file: string, filter: string, fields: readonly string[]): string[][] {
  const checks = ["ip", "tcp", "udp"].flatMap((name) => ["-o", `${name}.check_checksum:TRUE`]);
  const wanted = fields.flatMap((field) => ["-e", field]);
  const args = ["-r", file, ...checks, "-Y", filter, "-T", "fields", "-E", "occurrence=f", ...wanted];
  const { status, stdout, stderr } = spawnSync("tshark", args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  assert.equal(status, 0, stderr);
  const text = stdout.trimEnd();
  return text === "" ? [] : text.split("\n").map((line) => line.split("\t"));
}

for (const { name, mac } of [...PLACES, { name: "tap", mac: "52:54:00:00:12:01" }]) {
  const file = join(out, `${name}.pcap`);
  const offloads = join(out, `${name}.offloads`);

  test(`${name}: every frame that the card put on the cable is right`, (context) => {
    if (!existsSync(file)) return context.skip(`nothing was captured of ${name}`);
    const sent = tshark(file, `eth.src == ${mac}`, ["frame.number"]);
    if (sent.length === 0) return context.skip(`no test had ${name} send frames of its own`);
    // Status 0: the checksum is there and wrong.
    const bad = `ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 || _ws.malformed`;
    assert.deepEqual(tshark(file, `eth.src == ${mac} && (${bad})`, ["frame.number"]), []);
    context.diagnostic(`${sent.length} frames`);
  });

  test(`${name}: checksums and segments that were left to the card are as they must be`, (context) => {
    if (!existsSync(offloads)) return context.skip(`the offloads of ${name} were not asked for`);
    const { checksum, segmentation } = JSON.parse(readFileSync(offloads, "utf8"));
    if (checksum) {
      const udp = tshark(file, `eth.src == ${mac} && udp.dstport == 4001`, [
        "udp.checksum.status",
        "udp.length",
      ]);
      assert.deepEqual(udp, [["1", "1008"]]);
      const tcp = tshark(file, `eth.src == ${mac} && tcp.dstport == 4002`, [
        "tcp.checksum.status",
        "tcp.len",
      ]);
      assert.deepEqual(tcp, [["1", "1000"]]);
    }
    if (segmentation) {
      const fields = ["tcp.checksum.status", "ip.checksum.status", "tcp.seq_raw", "tcp.len", "tcp.payload"];
      const segments = tshark(file, `eth.src == ${mac} && tcp.dstport == 4003`, fields);
      // QEMU before version 8 cuts such a packet into IP fragments, which tshark puts together again.
      const lengths = segments.length === 1 ? [12_000] : [...Array.from({ length: 8 }, () => 1400), 800];
      assert.deepEqual(
        segments.map((segment) => segment.slice(0, 4)),
        lengths.map((length, i) => ["1", "1", String((0xffffff00 + 1400 * i) % 2 ** 32), String(length)]),
      );
      const long = tshark(file, `eth.src == ${mac} && frame.len > 1514`, ["frame.number"]);
      assert.deepEqual(long, []);
      const payload = Buffer.from(segments.map((segment) => segment[4]).join(""), "hex");
      assert.deepEqual(payload, Buffer.from(Array.from({ length: 12_000 }, (_, i) => (i % 1000) & 0xff)));
    }
  });
}
