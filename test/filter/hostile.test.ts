import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../../src/errors.js";
import type { ClassicInstruction, ClassicProgram } from "../../src/filter/classic.js";
import { compileFilter, readFilter } from "../../src/filter/compile.js";
import { formatAssembly, formatNumbers, readNumbers } from "../../src/filter/listing.js";
import { verify } from "../../src/filter/verify.js";
import { classified, interpreted, loadBurst } from "./backends.js";
import { expression, seeded } from "./grammar.js";
import { tcpdumpProgram } from "./oracle.js";

/** What became of an expression: a filter, or the error that refused it. Anything else is a crash. */
function attempt(text: string) {
  try {
    return compileFilter(text);
  } catch (error) {
    assert.ok(error instanceof MillraceError, String(error));
    assert.equal(error.code, "ERR_FILTER");
    return error;
  }
}

test("an expression of 100,000 characters is compiled and still right", () => {
  const terms: string[] = [];
  for (let port = 1; terms.join(" or ").length < 100_000; port += 50)
    for (let i = port; i < port + 50; i++) terms.push(`udp dst port ${i}`);
  const filter = attempt(terms.join(" or "));
  assert.ok(!(filter instanceof Error));
  const packet = new Uint8Array(60);
  packet.set([0x08, 0x00, 0x45], 12);
  packet[23] = 17;
  const matchesPort = (port: number) => {
    packet.set([port >>> 8, port & 255], 36);
    return filter.matches(packet);
  };
  assert.deepEqual([0, 1, 2, 500, 4000, 65_535].map(matchesPort), [false, true, true, true, true, false]);
});

test("whatever is nested 10,000 deep is refused by its column", () => {
  const deep = 10_000;
  for (const text of [
    `${"(".repeat(deep)}ip${")".repeat(deep)}`,
    `${"not ".repeat(deep)}ip`,
    `${"(".repeat(deep)}1${")".repeat(deep)} = 1`,
    `${"-".repeat(deep)}1 = 1`,
    `ip[${"ip[".repeat(deep)}0${"]".repeat(deep)}] = 1`,
    `${"1 ^ ".repeat(deep)}1 = 1`,
    `port ${"(".repeat(deep)}1${")".repeat(deep)}`,
    "(".repeat(deep),
  ]) {
    const refused = attempt(text);
    assert.ok(refused instanceof MillraceError && refused.at?.column !== undefined, text.slice(0, 20));
  }
  assert.ok(!(attempt(`${"1 + ".repeat(deep)}len > 1`) instanceof Error), "a run of sums is not deep");
});

test("an expression that makes millions of tests is refused before they are optimized", () => {
  const chains = Array.from({ length: 5000 }, (_, i) => `protochain ${i % 256}`).join(" or ");
  const refused = attempt(chains);
  assert.ok(refused instanceof MillraceError);
  assert.match(refused.message, /this makes more than 524288 tests/);
});

test("a sum of 10,000 bytes of a packet is the sum", () => {
  const bytes = Array.from({ length: 10_000 }, (_, i) => i % 64);
  const packet = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
  const sum = bytes.reduce((before, at) => before + packet[at], 0);
  for (const [total, matches] of [
    [sum, true],
    [sum + 1, false],
  ] as const) {
    const filter = attempt(`${bytes.map((at) => `ether[${at}]`).join(" + ")} = ${total}`);
    assert.ok(!(filter instanceof Error), String(filter));
    assert.equal(filter.matches(packet), matches);
    assert.deepEqual(interpreted(filter.program, [{ bytes: packet, wireLength: 64 }]), [matches]);
  }
});

test("any text is either a filter or a clear refusal", () => {
  const words =
    "ip tcp host net port ( ) not and or [ ] : 1 0x10 10.0.0.1 ::1 / - \\ip len = & mask 5-6 a$ $c0 ' é".split(
      " ",
    );
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...words), { maxLength: 12 }),
      (list) => void attempt(list.join(" ")),
    ),
    {
      numRuns: 2000,
    },
  );
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => void attempt(text)),
    { numRuns: 2000 },
  );
});

const CODES = [
  0x00, 0x01, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x61, 0x80, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x14,
  0x1c, 0x24, 0x2c, 0x34, 0x3c,
];
const MORE_CODES = [
  0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0xac, 0x05, 0x15, 0x1d, 0x25, 0x2d,
  0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87,
];

test("any program is either refused, or gives one verdict in every back end and touches nothing else", () => {
  const small = fc.nat(40);
  const k = fc.oneof(
    small,
    fc.nat(0xffffffff),
    fc.constantFrom(0xffffffff, 0xfffffffc, 0xfffff004, 31, 32, 15, 16),
  );
  const code = fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...CODES, ...MORE_CODES) },
    { weight: 1, arbitrary: fc.nat(0x1ff) },
  );
  const instruction = fc.tuple(code, fc.nat(3), fc.nat(3), k);
  // Loops back, far jumps and missing returns come up as well, but most programs run.
  const programs = fc
    .tuple(fc.array(instruction, { minLength: 1, maxLength: 12 }), small)
    .map(
      ([body, last]) =>
        [
          [0x02, 0, 0, 0],
          [0x03, 0, 0, 1],
          ...body,
          [0x06, 0, 0, last],
          [0x16, 0, 0, 0],
          [0x06, 0, 0, 1],
          [0x06, 0, 0, 0],
        ] as unknown as ClassicProgram,
    );
  const packets = [0, 1, 13, 40].map((length) => ({
    bytes: Uint8Array.from({ length }, (_, i) => (i * 37) & 255),
    wireLength: length + 100,
  }));
  const burst = loadBurst(packets);
  const random = seeded(7);
  const scattered = loadBurst(packets, random);
  let ran = 0;
  fc.assert(
    fc.property(programs, (program) => {
      try {
        verify(program);
      } catch (error) {
        assert.ok(error instanceof MillraceError);
        return;
      }
      ran++;
      if (program.some(([each, , , offset]) => (each & 0xe7) === 0x20 && offset >= 0xfffff000)) return;
      const expected = interpreted(program, packets);
      assert.deepEqual(classified(burst, program), expected);
      assert.deepEqual(classified(scattered, program), expected);
    }),
    { numRuns: 1500, seed: 11 },
  );
  assert.ok(ran > 300, `${ran} programs ran`);
});

test("programs that loop, end nowhere or read what was not written are refused by their instruction", () => {
  const refused = (text: string, message: RegExp) =>
    assert.throws(
      () => readNumbers(text),
      (error: Error) => error instanceof MillraceError && message.test(error.message),
    );
  refused("2\n5 0 0 4294967295\n6 0 0 1", /instruction 0 jumps backwards/);
  refused("2\n21 7 0 1\n6 0 0 1", /instruction 0 jumps outside/);
  refused("1\n0 0 0 1", /instruction 0 is the last and does not return/);
  refused("2\n96 0 0 3\n22 0 0 0", /instruction 0 reads scratch word 3, which nothing wrote/);
  refused("2\n2 0 0 16\n6 0 0 0", /instruction 0 names scratch word 16/);
  refused("2\n52 0 0 0\n6 0 0 0", /instruction 0 divides by zero/);
  refused("2\n100 0 0 32\n6 0 0 0", /shifts by more than 31/);
  refused("3\n6 0 0 0", /says it has 3 instructions, but 4 numbers follow/);
  refused("99999999999", /no number of 32 bits/);
  refused("", /no number/);
  refused("0", /empty/);
  const protochain = tcpdumpProgram("EN10MB", "ip6 protochain 6")!;
  refused(formatNumbers(protochain), /jumps backwards/);
});

test("what tcpdump prints is read back, and listings look like tcpdump's", () => {
  const random = seeded(3);
  for (let i = 0; i < 40; i++) {
    const program = tcpdumpProgram("EN10MB", expression(random, 3));
    if (program === undefined || program.some(([code]: ClassicInstruction) => code === 5)) continue;
    assert.deepEqual(readFilter(formatNumbers(program)).program, program);
  }
  assert.equal(
    formatAssembly(tcpdumpProgram("EN10MB", "tcp[13] & 3 != 0")!),
    [
      "(000) ldh      [12]",
      "(001) jeq      #0x800           jt 2\tjf 10",
      "(002) ldb      [23]",
      "(003) jeq      #0x6             jt 4\tjf 10",
      "(004) ldh      [20]",
      "(005) jset     #0x1fff          jt 10\tjf 6",
      "(006) ldxb     4*([14]&0xf)",
      "(007) ldb      [x + 27]",
      "(008) jset     #0x3             jt 9\tjf 10",
      "(009) ret      #262144",
      "(010) ret      #0",
    ].join("\n"),
  );
});
