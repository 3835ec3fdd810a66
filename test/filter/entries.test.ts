// Hostile filters at every place where a filter can be given: each ends in the right verdict, or in one clear line.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MillraceError } from "../../src/errors.js";
import type { ClassicInstruction, ClassicProgram } from "../../src/filter/classic.js";
import { compileFilter } from "../../src/filter/compile.js";
import { formatNumbers } from "../../src/filter/listing.js";
import { flow } from "../../src/flow/flow.js";
import { open } from "../../src/flow/port.js";
import { DATA, readCapture } from "./oracle.js";

const MAIN = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));
const FILE = join(DATA, "gather/rtp-mp2t-ffmpeg.pcap");
const { packets } = readCapture(FILE)!;
/** UDP port of RTP in the file, and how many packets go there by tcpdump's count; one more goes elsewhere. */
const PORT = 41_010;
const TO_PORT = 287;
const DEEP = 10_000;

/** Terms that no packet of the file matches. */
const STATIONS = Array.from(
  { length: 3230 },
  (_, i) => `ether dst 02:00:00:00:${(0x1000 + i).toString(16).replace(/../, "$&:")}`,
);
/** Even ports around PORT. */
const PORTS = Array.from({ length: 1500 }, (_, i) => PORT - 2000 + 2 * i).join(" or ");

/** Names of what is tried, the text, and how many packets match; undefined: it is refused, with its column. Commands take the first few. */
const EXPRESSIONS: readonly (readonly [name: string, text: string, matching: number | undefined])[] = [
  ["100,000 characters", `udp dst port ${PORT} or ${STATIONS.join(" or ")}`, TO_PORT],
  ["10,000 parentheses", `${"(".repeat(DEEP)}udp${")".repeat(DEEP)}`, undefined],
  ["10,000 nots", `${"not ".repeat(DEEP)}udp`, undefined],
  ["one word of 100,000 characters", "a".repeat(100_000), undefined],
  ["one number of 100,000 digits", `port ${"9".repeat(100_000)}`, undefined],
  ["10,000 parentheses that never close", "(".repeat(DEEP), undefined],
  ["a list of 1,500 ports", `dst port ${PORTS}`, TO_PORT],
  ["the same, which matches nothing", `tcp dst port ${PORTS}`, 0],
];

/** A place where an expression is given: how many packets of FILE match there. */
type Entry = (text: string, folder: string) => number | Promise<number>;

class Refused extends Error {}

/** A command of millrace, which must end by itself. Throws Refused, with what it said, for a mistake of the user's. */
function millrace(words: readonly string[]): { stdout: string; stderr: string } {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...words], {
    encoding: "utf8",
    timeout: 120_000,
  });
  assert.ok(status === 0 || status === 2, `${words[0]}: ${status ?? signal} ${stderr.slice(0, 1000)}`);
  if (status === 2) throw new Refused(stderr);
  return { stdout, stderr };
}

const ENTRIES: Readonly<Record<string, Entry>> = {
  "compileFilter()"(text) {
    const filter = compileFilter(text);
    return packets.filter(({ bytes }) => filter.matches(bytes)).length;
  },
  async "flow().filter()"(text) {
    const { received, dropped, mode } = await flow(`pcap:${FILE}`).filter(text).to("null:");
    assert.match(mode[0], /filter in wasm$/);
    return received.packets - (dropped.filter ?? 0);
  },
  async "open(…, { filter })"(text) {
    const port = await open(`pcap:${FILE}`, { filter: text });
    try {
      let count = 0;
      for await (const burst of port) for (const _ of burst) count++;
      assert.equal(port.stats().filteredIn, "wasm");
      return count;
    } finally {
      await port.close();
    }
  },
  capture(text, folder) {
    const out = join(folder, "capture.pcap");
    const { stderr } = millrace(["capture", "-r", FILE, "-w", out, text]);
    assert.match(stderr, /, filter in wasm\n/);
    return readCapture(out)!.packets.length;
  },
  "filter --read": (text) =>
    JSON.parse(millrace(["filter", "--read", FILE, "--json", text]).stdout).matched as number,
  gather(text, folder) {
    const to = `file:${join(folder, "gathered")}`;
    const words = ["gather", "--from", `pcap:${FILE}`, "--to", to, "--layout", "rtp", "--json"];
    return passed(millrace([...words, "--filter", text]).stdout);
  },
  forward: (text) =>
    passed(millrace(["forward", `pcap:${FILE}`, "null:", "--one-way", "--json", "--filter", text]).stdout),
  replay(text) {
    const words = ["replay", FILE, "null:", "--topspeed", "--json", "--filter", text];
    const { created, dropped, filteredIn } = JSON.parse(millrace(words).stdout);
    assert.equal(filteredIn, "wasm");
    return created - (dropped.filter ?? 0);
  },
};

/** Packets that a report says have passed the filter. */
function passed(json: string): number {
  const { received, dropped, mode } = JSON.parse(json);
  assert.match(mode[0], /filter in wasm$/);
  return received.packets - (dropped.filter ?? 0);
}

for (const [entry, take] of Object.entries(ENTRIES))
  test(`hostile expressions at ${entry}: a right verdict or one clear line`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    for (const [name, text, matching] of entry.endsWith(")") ? EXPRESSIONS : EXPRESSIONS.slice(0, 4)) {
      assert.ok(text.length < 131_072, "what Linux takes as one argument"); // MAX_ARG_STRLEN
      let got: number | undefined;
      try {
        got = await take(text, folder);
      } catch (error) {
        const known =
          error instanceof Refused || (error instanceof MillraceError && error.code === "ERR_FILTER");
        if (!known) throw error;
        assert.match(error.message, /filter: column \d+: /, name);
        assert.ok(error.message.length < 400, `${name}: an error of ${error.message.length} characters`);
      }
      assert.equal(got, matching, name);
    }
  });

const RETURN: ClassicInstruction = [0x06, 0, 0, 1];
const long = (instructions: number): ClassicProgram => [
  ...Array.from({ length: instructions - 1 }, (): ClassicInstruction => [0x00, 0, 0, 1]),
  RETURN,
];
/** How many packets match, or what the refusal says. */
const PROGRAMS: readonly (readonly [name: string, program: ClassicProgram, expected: number | RegExp])[] = [
  ["a loop", [[0x05, 0, 0, 0xffffffff], RETURN], /instruction 0 jumps backwards/],
  ["a loop in the midst", [RETURN, [0x05, 0, 0, 0xfffffffe], RETURN], /instruction 1 jumps backwards/],
  ["a jump outside", [[0x15, 200, 0, 1], RETURN], /instruction 0 jumps outside/],
  ["a scratch word outside", [[0x02, 0, 0, 16], RETURN], /names scratch word 16/],
  ["a word never written", [[0x60, 0, 0, 3], RETURN], /which nothing wrote/],
  ["no end", [[0x00, 0, 0, 1]], /does not return/],
  ["an unknown code", [[0xff, 0, 0, 1], RETURN], /unknown code 0xff/],
  ["a division by zero", [[0x34, 0, 0, 0], RETURN], /divides by zero/],
  ["a load from beyond", [[0x20, 0, 0, 0x7fffffff], RETURN], 0],
  ["X beyond", [[0x01, 0, 0, 0xffffffff], [0x48, 0, 0, 0xfffffff0], RETURN], 0],
  ["X at the end", [[0x81, 0, 0, 0], [0x50, 0, 0, 0], RETURN], 0],
  ["4,097 instructions", long(4097), packets.length],
  ["100,000 instructions", long(100_000), packets.length],
];
/** What is no program at all. */
const TEXTS: readonly (readonly [name: string, text: string, expected: RegExp])[] = [
  ["a negative jump", "2\n21 -1 0 1\n6 0 0 1", /"-1" is no number of 32 bits/],
  ["a count that lies", "4294967295\n6 0 0 1", /says it has 4294967295 instructions/],
  ["too many instructions", `1048577\n${"6 0 0 1\n".repeat(1_048_577)}`, /it has 1048577 instructions/],
  ["100,000 digits", "9".repeat(100_000), /is no number of 32 bits/],
  ["no text", "\0\x7fELF\xff", /is no number of 32 bits/],
  ["nothing", "", /no number/],
];

test("hostile -ddd files: a right verdict or one clear line", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "program");
  const all = [
    ...PROGRAMS.map(([name, program, expected]) => [name, formatNumbers(program), expected] as const),
  ];
  for (const [name, text, expected] of [...all, ...TEXTS]) {
    writeFileSync(file, text);
    let got: number | undefined;
    let said = "";
    try {
      const words = ["filter", "--program", file, "--read", FILE, "--json"];
      got = JSON.parse(millrace(words).stdout).matched as number;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      said = error.message;
    }
    if (typeof expected === "number") assert.equal(got, expected, `${name}: ${said}`);
    else assert.match(said, expected, name);
    assert.ok(said.length < 400, `${name}: an error of ${said.length} characters`);
  }
});

test("a Filter of somebody's own making is verified where it is put to use", async () => {
  const { matches } = compileFilter("");
  for (const [name, program, expected] of PROGRAMS) {
    const run = flow(`pcap:${FILE}`).filter({ expression: name, program, matches }).to("null:");
    if (typeof expected === "number") {
      const { received, dropped } = await run;
      assert.equal(received.packets - (dropped.filter ?? 0), expected, name);
    } else
      await assert.rejects(
        run,
        (error: MillraceError) => error.code === "ERR_FILTER" && expected.test(error.message),
        name,
      );
  }
});
