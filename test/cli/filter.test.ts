import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DATA } from "../filter/oracle.js";

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

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
