// docs/filters.md: what it shows, as it stands there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { compileFilter } from "../../src/filter/compile.js";
import { MAIN } from "../kit/lan.js";
import { makeNamespaces, makeVeth, startIn } from "../kit/netns.js";
import { interpreted } from "./backends.js";
import { capturedPackets, DATA, tcpdumpProgram } from "./oracle.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const DOC = readFileSync(join(ROOT, "docs/filters.md"), "utf8");

/** The blocks of code in a language; in none: what a command prints. */
function blocks(language: string): string[] {
  return [...DOC.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, name]) => name === language)
    .map(([, , text]) => text);
}

test("every expression of the language's table is one, and means what it does to tcpdump", () => {
  const table = DOC.slice(
    DOC.indexOf("## The language by example"),
    DOC.indexOf("`and` and `or` bind alike"),
  );
  const expressions = table
    .split("\n")
    .filter((row) => row.startsWith("| `"))
    .flatMap((row) => [...row.split(/(?<!\\)\|/)[1].matchAll(/`([^`]+)`/g)])
    .map(([, text]) => text.replaceAll("\\|", "|"));
  assert.ok(expressions.length >= 30, expressions.join(", "));
  const packets = capturedPackets(10).get("EN10MB")!;
  let compared = 0;
  for (const text of expressions) {
    const { program } = compileFilter(text);
    const theirs = tcpdumpProgram("EN10MB", text);
    // This libpcap has no vxlan, and its protochain loops.
    if (/vxlan|protochain|ifindex|inbound|outbound/.test(text)) continue;
    assert.ok(theirs !== undefined, `tcpdump refuses ${text}`);
    assert.deepEqual(interpreted(program, packets), interpreted(theirs, packets), text);
    compared++;
  }
  assert.ok(compared >= 25, `${compared} were compared`);
});

test("the program compiles as it stands, and runs", (t) => {
  const [program, ...more] = blocks("ts");
  assert.equal(more.length, 0);
  const source = join(ROOT, "dist/readme"); // within the package, so that "millrace" is the package itself
  mkdirSync(source, { recursive: true });
  writeFileSync(join(source, "filters.ts"), program);
  const options = "--ignoreConfig --strict --module nodenext --target es2022 --lib es2022 --types node";
  const built = spawnSync(
    join(ROOT, "node_modules/.bin/tsc"),
    [...options.split(" "), join(source, "filters.ts")],
    { encoding: "utf8", cwd: ROOT },
  );
  assert.equal(built.status, 0, built.stdout);
  const folder = mkdtempSync(join(tmpdir(), "millrace-docs-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  copyFileSync(join(DATA, "captures/vxlan.pcap"), join(folder, "capture.pcapng"));
  const run = spawnSync(process.execPath, [join(source, "filters.js")], { encoding: "utf8", cwd: folder });
  assert.equal(run.status, 0, run.stderr);
});

test("the commands run as they stand", async (t) => {
  const names = makeNamespaces(t, "lan");
  if (names === undefined) return;
  makeVeth({ namespace: names.lan, name: "eth0" }, { namespace: names.lan, name: "eth1" });
  const folder = mkdtempSync(join(tmpdir(), "millrace-docs-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ["trace.pcap", "trace.pcapng"])
    copyFileSync(join(DATA, "filter/pcap/isakmp4500.pcap"), join(folder, name));
  const command = join(folder, "millrace");
  writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
  chmodSync(command, 0o755);
  const lines = blocks("sh").flatMap((block) => block.trim().split("\n"));
  assert.ok(lines.length >= 4, lines.join("\n"));
  for (const line of lines) {
    const script = `cd '${folder}' && PATH='${folder}':$PATH && ${line.includes("|") ? line : `exec ${line}`}`;
    const child = startIn(t, names.lan, "sh", "-c", script);
    let [out, said] = ["", ""];
    child.stdout?.on("data", (data) => {
      out += data;
    });
    child.stderr?.on("data", (data) => {
      const listened = said.includes("listening on");
      said += data;
      if (!listened && said.includes("listening on")) child.kill("SIGINT"); // an interface has no end
    });
    const [status] = await once(child, "close");
    assert.equal(status, 0, `${line}: ${said}`);
    assert.ok(out.length > 0 || said.includes("listening on"), line);
  }
});

test("the error is the one that is shown", () => {
  const [shown] = blocks("");
  const { status, stderr } = spawnSync(process.execPath, [MAIN, "filter", "tcp prot 80"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.equal(stderr, shown);
});
