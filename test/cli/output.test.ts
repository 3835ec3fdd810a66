// Where commands print, and what becomes of them when nobody reads it.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MAIN } from "../kit/lan.js";

const capture = fileURLToPath(new URL("../../../test/data/captures/vxlan.pcap", import.meta.url));

test("a command whose reader has gone ends without a word, as others end by SIGPIPE", async () => {
  for (const words of [
    ["layout"],
    ["info", capture],
    ["filter", "--read", capture, "udp"],
    ["capture", "-r", capture],
    ["forward", capture, "null:", "--one-way", "--json"],
    ["trace", "--bus", "--json"],
  ]) {
    const child = spawn(process.execPath, [MAIN, ...words]);
    child.stdout.destroy(); // before the child can have started
    let said = "";
    child.stderr.on("data", (text) => {
      said += text;
    });
    assert.deepEqual(await once(child, "close"), [0, null], `millrace ${words.join(" ")}: ${said}`);
    assert.doesNotMatch(said, /EPIPE| {4}at /, words.join(" "));
  }
});

test("packets on standard output stand alone there, also with --json", () => {
  for (const words of [
    ["forward", capture, "-", "--one-way"],
    ["replay", capture, "-", "--topspeed"],
    ["generate", "-", "--count", "10"],
  ]) {
    const run = spawnSync(process.execPath, [MAIN, ...words, "--json"]);
    assert.equal(run.status, 0, String(run.stderr));
    const tcpdump = spawnSync("tcpdump", ["-nr", "-"], { input: run.stdout, encoding: "utf8" });
    assert.equal(tcpdump.status, 0, tcpdump.stderr);
    assert.equal(tcpdump.stdout.trim().split("\n").length >= 10, true, tcpdump.stdout);
    const report = JSON.parse(String(run.stderr).trim().split("\n").at(-1) ?? "");
    assert.equal(report.transmitted.packets, 10, words[0]);
  }
});
