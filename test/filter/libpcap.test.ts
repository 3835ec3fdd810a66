import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ABS, ANCILLARY, type ClassicProgram, LD } from "../../src/filter/classic.js";
import { compileProgram } from "../../src/filter/program.js";
import type { FilterLinkType } from "../../src/filter/state.js";
import { classified, interpreted, loadBurst } from "./backends.js";
import { expression as randomExpression, seeded } from "./grammar.js";
import {
  type CapturedPacket,
  capturedPackets,
  DATA,
  mutated,
  readCapture,
  tcpdumpProgram,
} from "./oracle.js";

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

/** Whether a program asks for what only a live port knows: the direction, the interface. */
function looksBeside(program: ClassicProgram): boolean {
  return program.some(([code, , , k]) => (code & 0xe7) === (LD | ABS) && k >= ANCILLARY);
}

function tryCompile(text: string, linkType: FilterLinkType): ClassicProgram | Error {
  try {
    return compileProgram(text, { linkType, snaplen: 262_144 });
  } catch (error) {
    return error as Error;
  }
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

const LINK_TYPES: readonly FilterLinkType[] = [
  ...(["EN10MB", "EN10MB", "EN10MB", "EN10MB"] as const),
  ...(["RAW", "IPV4", "IPV6", "LINUX_SLL", "LINUX_SLL2", "NULL", "LOOP"] as const),
];

/** Arithmetic on numbers alone: when it is worked out decides whether libpcap sees a contradiction in it. */
const CONSTANT_ARITHMETIC = /[-+*&|^/%]|<<|>>/;

test("random expressions: libpcap's verdicts on captured, changed and cut packets", () => {
  const rounds = Number(process.env.MILLRACE_FUZZ ?? 300);
  const random = seeded(Number(process.env.MILLRACE_SEED ?? 20_26));
  const packets = new Map<string, CapturedPacket[]>();
  for (const [name, list] of capturedPackets(6)) packets.set(name, mutated(list.slice(0, 300), random));
  const whole = new Map([...packets].map(([name, list]) => [name, loadBurst(list)]));
  const scattered = new Map([...packets].map(([name, list]) => [name, loadBurst(list, random)]));
  let compared = 0;
  let laxer = 0;
  for (let round = 0; round < rounds; round++) {
    const linkType = LINK_TYPES[Math.floor(random() * LINK_TYPES.length)];
    const text = randomExpression(random, 4);
    const theirs = tcpdumpProgram(linkType, text);
    const ours = tryCompile(text, linkType);
    if (theirs === undefined || ours instanceof Error) {
      const agreed = theirs === undefined && ours instanceof Error;
      assert.ok(agreed || CONSTANT_ARITHMETIC.test(text), `${linkType} ${text}: ${ours}`);
      if (!agreed) laxer++;
      continue;
    }
    const list = packets.get(linkType)!;
    const verdicts = interpreted(ours, list);
    const expected = interpreted(theirs, list);
    if (verdicts.some((verdict, i) => verdict !== expected[i])) {
      // libpcap's optimizer changes the order of tests, and so which of them finds a short packet's end.
      const plain = interpreted(tcpdumpProgram(linkType, text, true)!, list);
      verdicts.forEach((verdict, i) => {
        assert.ok(verdict === expected[i] || verdict === plain[i], `${linkType} ${text}: packet ${i}`);
      });
    }
    compared++;
    if (looksBeside(ours)) continue;
    assert.deepEqual(classified(whole.get(linkType)!, ours), verdicts, `${linkType} ${text}, WebAssembly`);
    assert.deepEqual(
      classified(scattered.get(linkType)!, ours),
      verdicts,
      `${linkType} ${text}, in fragments`,
    );
  }
  assert.ok(compared > rounds / 3, `${compared} of ${rounds} expressions were compared`);
  assert.ok(laxer <= rounds / 50, `${laxer} of ${rounds} expressions were refused by one side only`);
});
