import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { compileProgram } from "../../src/filter/program.js";
import type { FilterLinkType } from "../../src/filter/state.js";
import { makeEtc } from "../kit/etc.js";
import { classified, interpreted, loadBurst } from "./backends.js";
import { createDifferential, looksBeside, tryCompile } from "./differential.js";
import { seeded } from "./grammar.js";
import { capturedPackets, DATA, readCapture, tcpdumpProgram } from "./oracle.js";

interface ExpressionSet {
  readonly dlt: FilterLinkType;
  readonly expressions: readonly string[];
  readonly netmask: string | null;
}

const SETS: readonly ExpressionSet[] = JSON.parse(
  readFileSync(join(DATA, "filter/expressions.json"), "utf8"),
);

/** What the tests of libpcap ask of a later version than the one that Debian has, or of names that do not exist here. */
function beyondOracle(text: string): boolean {
  return /libpcap\.test/i.test(text) || text.includes("vxlan") || text === "ether proto slow";
}

test("libpcap's own expressions: the same are refused, the rest give the same verdicts in every back end", () => {
  const packets = capturedPackets(10);
  const bursts = new Map([...packets].map(([name, list]) => [name, loadBurst(list)]));
  for (const { dlt, expressions } of SETS)
    for (const text of expressions) {
      if (beyondOracle(text)) continue;
      const theirs = tcpdumpProgram(dlt, text);
      const ours = tryCompile(text, dlt);
      if (theirs === undefined || ours instanceof Error) {
        assert.ok(theirs === undefined && ours instanceof Error, `${dlt} ${text}: ${ours}`);
        continue;
      }
      const list = packets.get(dlt)!;
      // The walk of protochain loops in libpcap's programs, which the interpreter here does not run.
      const expected = /protochain/.test(text) ? interpreted(ours, list) : interpreted(theirs, list);
      assert.deepEqual(interpreted(ours, list), expected, `${dlt} ${text}, interpreted`);
      if (looksBeside(ours)) continue;
      assert.deepEqual(classified(bursts.get(dlt)!, ours), expected, `${dlt} ${text}, WebAssembly`);
    }
});

test("libpcap's expressions with names of hosts and networks: both look them up, and give one verdict", (t) => {
  // Names that promise the same have the same addresses: they stand in for one another.
  const hosts: readonly (readonly [name: string, ...addresses: string[]])[] = [
    ["noeth-ipv4-noipv6.host123", "192.168.1.249"],
    ["noeth-noipv4-ipv6.host123", "fe80::1"],
    ["noeth-ipv4-ipv6.host123", "192.168.1.249", "fe80::1"],
    ["eth-ipv4-noipv6.host123", "192.168.1.249"],
    ["eth-ipv4-ipv6.host123", "192.168.1.249", "fe80::1"],
    ["eth-ipv4x4-noipv6.host357", "192.1.2.23", "10.0.0.1", "224.0.0.2", "192.168.1.172"],
    ["eth-noipv4-ipv6x2.host357", "ff02::5", "2000::1"],
    ["eth-ipv4x4-ipv6x2.host357"].concat(
      ["192.1.2.23", "10.0.0.1", "224.0.0.2", "192.168.1.172"],
      ["ff02::5", "2000::1"],
    ) as [string, ...string[]],
  ];
  const stations = ["eth-noipv4-noipv6.host123", ...hosts.map(([name]) => name)].filter((name) =>
    name.startsWith("eth"),
  );
  const run = makeEtc(t, {
    hosts: hosts
      .flatMap(([name, ...addresses]) => addresses.map((address) => `${address} ${name}.libpcap.test\n`))
      .join(""),
    ethers: stations.map((name) => `00:11:22:33:44:55 ${name}.libpcap.test\n`).join(""),
    networks: [
      "net-10-0-0-0.libpcap.test 10.0.0.0\n",
      "net-10-20-0-0.libpcap.test 192.168.0.0\n",
      "net-10-20-30-0.libpcap.test 192.168.1.0\n",
    ].join(""),
  });
  if (run === undefined) return;
  const named = fileURLToPath(new URL("./named.js", import.meta.url));
  const { status, stdout, stderr } = run(process.execPath, named);
  assert.equal(status, 0, stderr);
  const { compared, matching, alike } = JSON.parse(stdout);
  assert.ok(compared >= 85 && matching >= 60 && alike >= 50, stdout);
});

test("expressions with one meaning give one verdict", () => {
  const packets = capturedPackets(10);
  for (const { dlt, expressions } of SETS) {
    // This libpcap reads igrp as protocol 9, a later one as 88.
    const same = expressions.filter((text) => !/libpcap\.test/i.test(text) && text !== "igrp");
    const programs = same.map((text) => compileProgramOrNothing(text, dlt));
    for (const program of programs.slice(1))
      assert.deepEqual(
        program && interpreted(program, packets.get(dlt)!),
        programs[0] && interpreted(programs[0], packets.get(dlt)!),
        same.join(" | "),
      );
  }
});

function compileProgramOrNothing(text: string, linkType: FilterLinkType): ClassicProgram | undefined {
  const made = tryCompile(text, linkType);
  return made instanceof Error ? undefined : made;
}

test("libpcap's captures: each filter keeps of each packet what it must", () => {
  interface Applied {
    readonly savefile: string;
    readonly expression: string;
    readonly results: readonly number[];
  }
  const cases: readonly Applied[] = JSON.parse(readFileSync(join(DATA, "filter/apply.json"), "utf8"));
  let tried = 0;
  for (const { savefile, expression, results } of cases) {
    const capture = savefile.endsWith(".pcap") ? readCapture(join(DATA, "filter/pcap", savefile)) : undefined;
    if (capture === undefined || /libpcap\.test/.test(expression)) continue;
    const linkType = capture.linkType as FilterLinkType;
    const program = compileProgram(expression, { linkType, snaplen: 65_535, fromFile: true });
    const expected = results.map((kept) => kept > 0);
    const list = capture.packets.slice(0, results.length);
    assert.deepEqual(interpreted(program, list), expected, `${savefile}: ${expression}, interpreted`);
    assert.deepEqual(
      classified(loadBurst(list), program),
      expected,
      `${savefile}: ${expression}, WebAssembly`,
    );
    tried++;
  }
  assert.ok(tried >= 44, `${tried} cases were tried`);
});

test("random expressions: libpcap's verdicts on captured, changed and cut packets, in every back end and the kernel", () => {
  const rounds = 300;
  const { step, counts, close } = createDifferential(seeded(20_26));
  try {
    for (let round = 0; round < rounds; round++) step();
  } finally {
    close();
  }
  const told = JSON.stringify(counts);
  assert.ok(counts.compared > rounds / 3, told);
  assert.ok(counts.classic > rounds / 4, told);
  assert.ok(counts.reordered <= rounds / 50 && counts.shortened <= 1, told);
  assert.ok(counts.refusedByOne <= rounds / 50, told);
});
