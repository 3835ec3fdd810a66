// Expressions and -ddd programs with characters and numbers changed: refused with a clear error, or the same in every
// back end, with bytes beside the packet that must not matter.
import assert from "node:assert/strict";
import { MillraceError } from "../../src/errors.js";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { compileFilter, type Filter, readFilter } from "../../src/filter/compile.js";
import { formatNumbers } from "../../src/filter/listing.js";
import { runsInSocket } from "../../src/filter/socket.js";
import { WORDS } from "../../src/filter/words.js";
import { classified, interpreted, loadBurst } from "../filter/backends.js";
import { looksBeside } from "../filter/differential.js";
import { expression } from "../filter/grammar.js";
import { openFilteredPair } from "../filter/kernel.js";
import { capturedPackets, mutated } from "../filter/oracle.js";
import type { Fuzzer, Random } from "./fuzzer.js";

const ALPHABET = "0123456789 ()[]:.&|!=<>+-*/%^\\,'é";
const CODES = [
  0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x61, 0x02, 0x03, 0x80, 0x81, 0xb1, 0x07, 0x87, 0x05,
];
const NUMBERS = [
  0, 1, 14, 31, 32, 255, 4095, 0x7fffffff, 0x80000000, 0xfffff000, 0xfffff02c, 0xfffffffe, 0xffffffff,
];

function wordsOf(text: string): readonly string[] {
  return text.match(/[a-z][\w-]*/gi) ?? [];
}

function changedText(random: Random, text: string): string {
  let changed = text;
  for (let i = random.below(4); i > 0; i--) {
    const at = random.below(changed.length + 1);
    const piece =
      random.below(3) === 0
        ? changed.slice(at, at + 12).repeat(1 + random.below(40))
        : ALPHABET[random.below(ALPHABET.length)];
    changed = changed.slice(0, at) + piece + changed.slice(at + random.below(4));
  }
  return changed;
}

function changedProgram(random: Random, program: ClassicProgram): string {
  const numbers = formatNumbers(program).split(/\s/);
  for (let i = 1 + random.below(3); i > 0; i--) {
    const at = 1 + random.below(numbers.length - 1);
    const pool = at % 4 === 1 ? CODES : at % 4 === 0 ? NUMBERS : [0, 1, 2, 3, 255];
    numbers[at] = String(random.below(20) === 0 ? -1 : random.pick(pool));
  }
  return numbers.join(" ");
}

function attempt(make: () => Filter): Filter | undefined {
  try {
    return make();
  } catch (error) {
    assert.ok(error instanceof MillraceError && error.code === "ERR_FILTER", String(error));
    return undefined;
  }
}

/** An input is one expression and one program. */
export const fuzzer: Fuzzer = {
  name: "programs",
  turn: 300,
  start(random) {
    const chance = () => random.below(2 ** 30) / 2 ** 30;
    const packets = mutated(capturedPackets(2).get("EN10MB")!.slice(0, 25), chance);
    const whole = loadBurst(packets);
    const scattered = loadBurst(packets, chance);
    const asked = packets
      .filter(({ bytes }) => bytes.length > 0 && bytes.length <= 9000)
      .map(({ bytes }) => ({ bytes, wireLength: bytes.length }));
    const pair = openFilteredPair();
    const compare = ({ program }: Filter, what: string) => {
      if (looksBeside(program)) return;
      const expected = interpreted(program, packets);
      assert.deepEqual(classified(whole, program), expected, what);
      assert.deepEqual(classified(scattered, program), expected, what);
      if (!runsInSocket(program) || pair.attach(program) !== 0) return;
      assert.deepEqual(pair.passes(asked), interpreted(program, asked), `${what}, socket`);
    };
    const step = () => {
      const text = expression(chance, 4);
      const changed = changedText(random, text);
      // Nobody is to be asked for the addresses of names that chance made.
      const known = new Set(wordsOf(text));
      if (wordsOf(changed).some((word) => !known.has(word) && !WORDS.has(word))) return 1;
      const filter = attempt(() => compileFilter(changed));
      if (filter === undefined) return 1;
      compare(filter, changed);
      const numbers = changedProgram(random, filter.program);
      const program = attempt(() => readFilter(numbers));
      if (program !== undefined) compare(program, numbers);
      return 1;
    };
    return Object.assign(step, { close: () => pair.close() });
  },
};
