import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { imbalance } from "../../src/flow/report.js";
import { DATA, readCapture } from "../filter/oracle.js";

const MAIN = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));

function millrace(words: readonly string[], input = "") {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "filter", ...words], { input });
  return { status, stdout: stdout.toString("latin1"), stderr: stderr.toString() };
}

test("millrace filter prints the program in every form", () => {
  assert.equal(millrace(["-ddd", "ip", "proto", "6"]).stdout.split("\n")[0], "6");
  assert.equal(millrace(["arp"]).stdout, millrace(["-d", "arp"]).stdout);
  assert.match(millrace(["-d", "arp"]).stdout, /^\(000\) ldh {6}\[12\]\n\(001\) jeq {6}#0x806 /);
  assert.match(millrace(["-dd", "arp"]).stdout, /^\{ 0x28, 0, 0, 0x0000000c \},\n/);
  assert.match(millrace(["--ebpf", "arp"]).stdout, /r0 = be16 r0/);
  assert.equal(millrace(["--wasm", "arp"]).stdout.slice(0, 4), "\0asm");
  assert.match(millrace(["-d", "-y", "RAW", "ip"]).stdout, /ldb {6}\[0\]/);
});

test("millrace filter --read tells which packets match, as text and as JSON", () => {
  const file = join(DATA, "filter/pcap/geneve.pcap");
  const text = millrace(["--read", file, "geneve 11"]);
  assert.match(text.stdout, /^1\tno match\n2\tmatch\n/);
  assert.match(text.stdout, /6 of 10 packets match\n$/);
  assert.deepEqual(JSON.parse(millrace(["--read", file, "--json", "geneve 11"]).stdout), {
    packets: 10,
    matched: 6,
  });
});

test("millrace filter runs what tcpdump -ddd printed", () => {
  const numbers = spawnSync("tcpdump", ["-y", "EN10MB", "-ddd", "arp"]).stdout.toString();
  const file = join(DATA, "filter/pcap/isakmp4500.pcap");
  const { stdout } = millrace(["--program", "-", "--read", file, "--json"], numbers);
  assert.equal(JSON.parse(stdout).matched, 2);
});

test("a mistake is one clear line, the way out, and exit status 2", () => {
  const { status, stderr } = millrace(["tcp", "prot", "80"]);
  assert.equal(status, 2);
  assert.equal(
    stderr,
    `millrace: filter: column 5: "prot" stands where "and", "or" or the end was expected\nmillrace: did you mean "port"?\n`,
  );
  assert.equal(millrace(["--program", "-"], "1\n5 0 0 4294967295").status, 2);
  assert.match(
    millrace(["--program", "/nowhere"]).stderr,
    /^millrace: "\/nowhere" cannot be read: ENOENT\n$/,
  );
});

test("forward and replay pass on what tcpdump does, count the rest, and say where they filter", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(DATA, "filter/pcap/isakmp4500.pcap");
  const wanted = join(folder, "tcpdump.pcap");
  assert.equal(spawnSync("tcpdump", ["-r", file, "-w", wanted, "arp"]).status, 0);
  const { packets } = readCapture(wanted)!;
  const all = readCapture(file)!.packets.length;
  assert.ok(packets.length > 0 && packets.length < all);
  const runs = {
    forward: (out: string) => ["forward", `pcap:${file}`, `pcap:${out}`, "--one-way", "--filter", "arp"],
    replay: (out: string) => ["replay", file, `pcap:${out}`, "--topspeed", "--filter", "arp"],
  };
  for (const [name, words] of Object.entries(runs)) {
    const out = join(folder, `${name}.pcap`);
    const { stdout, stderr, status } = spawnSync(process.execPath, [MAIN, ...words(out), "--json"], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    const report = JSON.parse(stdout);
    assert.equal(report.dropped.filter, all - packets.length, stdout);
    if (name === "forward") {
      assert.equal(imbalance(report), 0, stdout);
      assert.match(report.mode[0], /filter in wasm$/);
    }
    assert.deepEqual(
      readCapture(out)!.packets.map(({ bytes }) => Buffer.from(bytes).toString("hex")),
      packets.map(({ bytes }) => Buffer.from(bytes).toString("hex")),
      name,
    );
  }
});
