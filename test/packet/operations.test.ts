// Packets behave as plain Buffers do, whatever is done to them and however their bytes are scattered.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../../src/errors.js";
import { META_WIRE_LENGTH } from "../../src/kernels/structs.js";
import { buildPacket } from "../../src/packet/build.js";
import { ipv4 } from "../../src/packet/headers/index.js";
import { parseTemplate } from "../../src/packet/template.js";
import type { HeldPacket, Packet } from "../../src/packet/types.js";
import { addPacket, emptyBurst, freeFrames, makeBench, metaOf, viewBurst } from "./arena.js";

const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 });
const scattered = fc.array(bytes, { minLength: 1, maxLength: 18 });
const position = fc.nat({ max: 0xffff });

const step = fc.oneof(
  fc.record({ do: fc.constant("pull" as const), n: position }),
  fc.record({ do: fc.constant("push" as const), n: fc.nat({ max: 700 }) }),
  fc.record({ do: fc.constant("trim" as const), n: position }),
  fc.record({ do: fc.constant("extend" as const), n: fc.nat({ max: 5000 }) }),
  fc.record({ do: fc.constant("reserve" as const), n: fc.nat({ max: 512 }) }),
  fc.record({ do: fc.constant("linearize" as const) }),
  fc.record({ do: fc.constant("split" as const), n: position }),
  fc.record({ do: fc.constant("clone" as const) }),
  fc.record({ do: fc.constant("join" as const), n: position, front: fc.boolean() }),
  fc.record({ do: fc.constant("release" as const), n: position }),
  fc.record({ do: fc.constant("swap" as const), n: position }),
  fc.record({
    do: fc.constant("write" as const),
    n: position,
    width: fc.constantFrom(1, 2, 4),
    value: fc.nat({ max: 0xffffffff }),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Modelled {
  readonly packet: Packet;
  model: Buffer;
}

/** `n` scaled into [0, most]. */
const within = (n: number, most: number) => Math.floor((n * (most + 1)) / 0x10000);

function apply(current: Modelled, others: { packet: HeldPacket; model: Buffer }[], todo: Step): void {
  const { packet, model } = current;
  switch (todo.do) {
    case "pull": {
      const n = within(todo.n, model.length);
      packet.pull(n);
      current.model = model.subarray(n);
      return;
    }
    case "push":
      packet.push(todo.n);
      current.model = Buffer.concat([Buffer.alloc(todo.n), model]);
      return;
    case "trim": {
      const n = within(todo.n, model.length);
      packet.trim(n);
      current.model = model.subarray(0, model.length - n);
      return;
    }
    case "extend":
      packet.extend(todo.n);
      current.model = Buffer.concat([model, Buffer.alloc(todo.n)]);
      return;
    case "reserve":
      if (todo.n + packet.bytes.length > 2048)
        assert.throws(() => packet.reserve(todo.n), { code: "ERR_BOUNDS" });
      else {
        packet.reserve(todo.n);
        assert.ok(packet.headroom >= todo.n);
      }
      return;
    case "linearize":
      if (model.length > 2048 && packet.fragments > 0)
        assert.throws(() => packet.linearize(), { code: "ERR_BOUNDS" });
      else {
        packet.linearize();
        assert.equal(packet.fragments, 0);
      }
      return;
    case "split": {
      const n = within(todo.n, model.length);
      others.push({ packet: packet.split(n), model: Buffer.from(model.subarray(n)) });
      current.model = Buffer.from(model.subarray(0, n));
      return;
    }
    case "clone":
      others.push({ packet: packet.clone(), model: Buffer.from(model) });
      return;
    case "join": {
      const [other] = others.splice(within(todo.n, others.length - 1), 1);
      if (other === undefined) return;
      if (todo.front) packet.prepend(other.packet);
      else packet.append(other.packet);
      current.model = Buffer.concat(todo.front ? [other.model, model] : [model, other.model]);
      assert.throws(() => other.packet.length, { code: "ERR_RELEASED" });
      return;
    }
    case "release": {
      const [other] = others.splice(within(todo.n, others.length - 1), 1);
      other?.packet.release();
      return;
    }
    case "swap": {
      const other = others[within(todo.n, others.length - 1)];
      if (other === undefined || other.model.length === 0) return;
      other.packet.setU8(0, 0x5a);
      other.model = Buffer.from(other.model);
      other.model[0] = 0x5a;
      return;
    }
    case "write": {
      const at = within(todo.n, model.length);
      const write = () => {
        if (todo.width === 1) packet.setU8(at, todo.value);
        else if (todo.width === 2) packet.setU16(at, todo.value);
        else packet.setU32(at, todo.value);
      };
      if (at + todo.width > model.length) {
        assert.throws(write, { code: "ERR_BOUNDS" });
        return;
      }
      write();
      current.model = Buffer.from(model);
      current.model.writeUIntBE(todo.value % 256 ** todo.width, at, todo.width);
      return;
    }
  }
}

function agree({ packet, model }: Modelled): void {
  assert.equal(packet.length, model.length);
  assert.deepEqual(Buffer.from(packet.copy()), Buffer.from(model));
  for (const at of [0, 1, model.length >> 1, model.length - 4, model.length - 2, model.length - 1]) {
    if (at >= 0 && at + 1 <= model.length) assert.equal(packet.u8(at), model.readUInt8(at));
    if (at >= 0 && at + 2 <= model.length) assert.equal(packet.u16(at), model.readUInt16BE(at));
    if (at >= 0 && at + 4 <= model.length) assert.equal(packet.u32(at), model.readUInt32BE(at));
  }
  assert.throws(() => packet.u16(model.length - 1), { code: "ERR_BOUNDS" });
  assert.throws(() => packet.u8(-1), { code: "ERR_BOUNDS" });
  assert.throws(() => packet.u8(0.5), { code: "ERR_BOUNDS" });
  assert.deepEqual(
    Buffer.from([...packet.stream(model.length >> 1)]),
    Buffer.from(model.subarray(model.length >> 1)),
  );
}

test("long random sequences of operations agree with a Buffer and lose no frame", () => {
  const bench = makeBench(2048);
  const total = freeFrames(bench.arena);
  fc.assert(
    fc.property(
      scattered,
      scattered,
      fc.nat(200),
      fc.array(step, { maxLength: 60 }),
      (first, second, room, steps) => {
        addPacket(bench, first, room);
        addPacket(bench, second, room);
        const burst = viewBurst(bench);
        const neighbour = Buffer.concat(second);
        const current: Modelled = { packet: burst.at(0), model: Buffer.concat(first) };
        const others: { packet: HeldPacket; model: Buffer }[] = [];
        for (const todo of steps) {
          apply(current, others, todo);
          agree(current);
        }
        for (const other of others) {
          agree(other);
          other.packet.release();
          other.packet.release();
        }
        assert.deepEqual(Buffer.from(burst.at(1).copy()), neighbour, "the packet behind it is untouched");
        emptyBurst(bench);
        assert.equal(freeFrames(bench.arena), total, "free + held == total");
      },
    ),
    { numRuns: Number(process.env.MILLRACE_RUNS ?? 400) },
  );
});

test("a packet that ends with its frame can be emptied and cut without touching the frame behind", () => {
  const bench = makeBench(2048);
  const total = freeFrames(bench.arena);
  addPacket(bench, [Buffer.alloc(1848, 7)], 200); // 200 + 1848: to the frame's last byte
  addPacket(bench, [Buffer.alloc(2048, 9)], 0);
  const burst = viewBurst(bench);
  const rest = burst.at(0).split(1848);
  assert.equal(rest.length, 0);
  rest.release();
  burst.at(0).pull(1848);
  const empty = burst.at(0).split(0);
  empty.release();
  assert.deepEqual(Buffer.from(burst.at(1).copy()), Buffer.alloc(2048, 9));
  emptyBurst(bench);
  assert.equal(freeFrames(bench.arena), total);
});

test("a flyweight moves over its burst, and throws once the burst is gone", () => {
  const bench = makeBench();
  for (let i = 0; i < 8; i++) addPacket(bench, [Buffer.from([i, 0x12, 0x34, 0x56, 0x78])]);
  const burst = viewBurst(bench);
  const seen: number[] = [];
  for (const packet of burst) {
    if (packet.u8(0) % 2 === 1) packet.drop("odd");
    seen.push(packet.u8(0));
  }
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual([...burst].length, 4, "dropped packets are passed over by the next loop");
  const kept = burst.at(2).hold();
  const packet = burst.at(3);
  emptyBurst(bench);
  assert.throws(() => packet.u8(0), { code: "ERR_RELEASED" });
  assert.throws(() => packet.setU8(0, 1), { code: "ERR_RELEASED" });
  assert.throws(() => burst.length, { code: "ERR_RELEASED" });
  assert.throws(
    () => burst.at(0),
    (error) => error instanceof MillraceError && error.hint !== undefined,
  );
  assert.equal(kept.u32(1), 0x12345678);
  kept.release();
  assert.throws(() => kept.u8(0), { code: "ERR_RELEASED" });
});

test("whatever is asked of a packet, or of a view over it, throws once its burst is gone", () => {
  const bench = makeBench();
  const total = freeFrames(bench.arena);
  const bytes = buildPacket(parseTemplate("eth/ipv4/udp"), Buffer.alloc(100));
  for (const how of ["emptied", "released"]) {
    addPacket(bench, [bytes.subarray(0, 60), bytes.subarray(60)]);
    const burst = viewBurst(bench);
    const packet = how === "emptied" ? burst.at(0) : burst.at(0).clone();
    metaWireLength(bench, 1500);
    const view = ipv4.view();
    assert.ok(view.moveTo(packet));
    const pieces = packet.pieces()[Symbol.iterator]();
    const stream = packet.stream()[Symbol.iterator]();
    pieces.next();
    stream.next();
    emptyBurst(bench);
    if (how === "released") (packet as HeldPacket).release();
    const other = how === "emptied" ? undefined : burst;
    const asked: Record<string, () => unknown> = {
      length: () => packet.length,
      wireLength: () => packet.wireLength,
      fragments: () => packet.fragments,
      queue: () => packet.queue,
      hash: () => packet.hash,
      checksum: () => packet.checksum,
      seconds: () => packet.seconds,
      nanoseconds: () => packet.nanoseconds,
      timestamp: () => packet.timestamp(),
      u8: () => packet.u8(0),
      u16: () => packet.u16(59),
      u32: () => packet.u32(70),
      setU8: () => packet.setU8(0, 1),
      setU16: () => packet.setU16(59, 1),
      setU32: () => packet.setU32(70, 1),
      header: () => packet.header(ipv4),
      bytes: () => packet.bytes,
      pieces: () => [...packet.pieces()],
      "pieces, begun before": () => pieces.next(),
      stream: () => [...packet.stream()],
      "stream, begun before": () => stream.next(),
      copy: () => packet.copy(),
      headroom: () => packet.headroom,
      tailroom: () => packet.tailroom,
      pull: () => packet.pull(1),
      push: () => packet.push(1),
      trim: () => packet.trim(1),
      extend: () => packet.extend(1),
      reserve: () => packet.reserve(1),
      linearize: () => packet.linearize(),
      append: () => packet.append(packet),
      split: () => packet.split(1),
      clone: () => packet.clone(),
      hold: () => packet.hold(),
      drop: () => packet.drop("late"),
      route: () => packet.route(1),
      "a header's field": () => view.ttl,
      "writing a header's field": () => {
        view.ttl = 3;
      },
      "a burst's packet": () => burst.at(0),
      "a burst's length": () => burst.length,
      "a burst's loop": () => [...burst],
      "joining to another": () => other?.at(0).append(packet) ?? burst.at(0),
    };
    for (const [name, ask] of Object.entries(asked))
      assert.throws(ask, { code: "ERR_RELEASED" }, `${name}, ${how}`);
  }
  assert.equal(freeFrames(bench.arena), total);
});

function metaWireLength(bench: ReturnType<typeof makeBench>, length: number): void {
  bench.arena.u32[(metaOf(bench, 0) + META_WIRE_LENGTH) >>> 2] = length;
}

test("metadata: seconds, nanoseconds, hash, checksum state, and lengths before a snap length", () => {
  const bench = makeBench();
  addPacket(bench, [Buffer.alloc(60)]);
  const meta = metaOf(bench, 0);
  const { arena } = bench;
  arena.f64[meta / 8] = 1_700_000_000;
  arena.u32[(meta + 8) / 4] = 123_456_789;
  arena.u32[(meta + 12) / 4] = 0xdeadbeef;
  arena.u32[(meta + 16) / 4] = 1514;
  arena.u16[(meta + 24) / 2] = 16 | 3;
  const packet = viewBurst(bench).at(0);
  assert.equal(packet.timestamp(), 1_700_000_000_123_456_789n);
  assert.equal(packet.hash, 0xdeadbeef);
  assert.equal(packet.wireLength, 1514);
  assert.equal(packet.checksum, "partial");
  assert.throws(() => packet.route(127), { code: "ERR_BOUNDS" });
  emptyBurst(bench);
});
