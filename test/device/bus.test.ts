import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bus } from "../../src/device/bus/bus.js";
import type { ModelBus } from "../../src/device/model/bus.js";
import type { MakeModel } from "../../src/device/model/device.js";
import { createStillMachine } from "../../src/device/model/inthread.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { allocateRegion } from "../../src/memory/region.js";

/** A device that adds: register 0 counts its own reads, 4 starts a copy from the IOVA in 8 to the one in 16. */
const makeAdder: MakeModel = (host) => {
  let reads = 0;
  const words = new Map<number, bigint>();
  let started = false;
  return {
    vendor: 0x1234,
    device: 0x5678,
    revision: 3,
    classCode: 0xff0000,
    bars: [
      { index: 0, bytes: 4096, space: "memory" },
      { index: 1, bytes: 16, space: "io" },
      { index: 2, bytes: 16384, space: "memory", plain: true },
    ],
    vectors: 2,
    asserted: () => words.get(24) !== undefined,
    read: (_bar, offset) => (offset === 0 ? ++reads : (words.get(offset) ?? 0)),
    write: (_bar, offset, _bytes, value) => {
      words.set(offset, BigInt(value));
      if (offset === 4) started = true;
      if (offset === 28) words.delete(24);
      if (offset === 24) host.interrupt(1);
    },
    work: () => {
      if (!started) return false;
      started = false;
      const bytes = new Uint8Array(64);
      if (host.dmaRead(Number(words.get(8)), bytes)) host.dmaWrite(Number(words.get(16)), bytes);
      host.interrupt(1);
      return true;
    },
    reset: () => words.clear(),
  };
};

function fit(parameters: Record<string, string> = {}) {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const machine = createStillMachine(arena);
  const bus = machine.fit("adder@model", makeAdder, { parameters: new Map(Object.entries(parameters)) });
  return { arena, machine, bus };
}

test("a register read happens exactly as often as the driver reads, and pushes the writes before it", async () => {
  const { bus } = fit();
  const bar = bus.bar(0);
  for (let i = 0; i < 1000; i++) bar.write32(32, i);
  assert.equal(bar.read32(32), 999);
  for (let i = 1; i <= 1000; i++) assert.equal(bar.read32(0), i);
  assert.equal(bus.ledger().mmioWrites, 1000);
  assert.equal(bus.ledger().mmioReads, 1001);
  bar.write64(40, 0x1122334455667788n);
  assert.equal(bar.read64(40), 0x1122334455667788n);
  assert.throws(() => bar.read32(4096), { code: "ERR_BOUNDS" });
  assert.throws(() => bar.read32(2), { code: "ERR_BOUNDS" });
  await bus.close();
  assert.throws(() => bar.read32(0), { code: "ERR_CLOSED" });
});

test("configuration space tells identity, sizes and capabilities as PCI says", async () => {
  const { bus } = fit();
  assert.deepEqual(bus.identity, { vendor: 0x1234, device: 0x5678, revision: 3, classCode: 0xff0000 });
  bus.configWrite(0x10, 4, 0xffffffff);
  assert.equal(bus.configRead(0x10, 4), 0xfffff000, "a BAR of 4096 bytes");
  const msix = bus.configRead(0x34, 1);
  assert.equal(bus.configRead(msix, 1), 0x11);
  assert.equal(bus.configRead(msix + 2, 2) & 0x7ff, 1, "two vectors");
  await bus.close();
});

async function copy(bus: ModelBus, step: () => void, from: number, to: number): Promise<void> {
  bus.bar(0).write64(8, BigInt(from));
  bus.bar(0).write64(16, BigInt(to));
  bus.bar(0).write32(4, 1);
  step();
}

for (const bias of [0, 0x7000_0000]) {
  test(`a device reaches mapped memory only, with a bias of ${bias}; anything else is a reported fault`, async () => {
    const { arena, bus, machine } = fit({ bias: String(bias) });
    const memory = allocateRegion(arena, 16384);
    arena.u8.fill(7, memory, memory + 64);
    const iova = bus.map(memory, 8192);
    assert.equal(iova, memory + bias);
    bus.enableInterrupts(2);

    copy(bus, machine.settle, iova, iova + 4096);
    assert.equal(arena.u8[memory + 4096], 0, "bus mastering is off");
    assert.deepEqual(bus.lastFault(), { iova, write: false });

    bus.setBusMaster(true);
    copy(bus, machine.settle, iova, iova + 4096);
    assert.equal(arena.u8[memory + 4096 + 63], 7);
    assert.equal(Atomics.load(arena.u32, bus.counter(1) >>> 2), 2);

    arena.u8.fill(9, memory + 8192 - 32, memory + 8192 + 32);
    copy(bus, machine.settle, iova, iova + 8192 - 32);
    assert.deepEqual(bus.lastFault(), { iova: iova + 8192 - 32, write: true });
    assert.equal(arena.u8[memory + 8192 - 32], 9, "nothing of a stopped write arrives");

    bus.unmap(memory, 8192);
    copy(bus, machine.settle, iova, iova + 4096);
    assert.equal(bus.ledger().faults, 3);
    assert.throws(() => bus.map(memory + 1, 4096), { code: "ERR_DEVICE" });
    await bus.close();
  });
}

test("an interrupt wakes its waiter, and the counts add up", async () => {
  const { bus, machine } = fit();
  bus.enableInterrupts(2);
  let seen = 0;
  const waiter = (async (waited: Bus) => {
    for await (const count of waited.interrupts(1)) {
      seen += count;
      if (seen === 5) return;
    }
  })(bus);
  for (let i = 0; i < 5; i++) {
    bus.bar(0).write32(4, 1);
    machine.settle();
    if (i % 2 === 0) await new Promise(setImmediate);
  }
  await waiter;
  assert.equal(seen, 5);
  bus.enableInterrupts(0);
  bus.bar(0).write32(4, 1);
  machine.settle();
  assert.equal(bus.ledger().interrupts, 5, "vectors that are off stay silent");
  await bus.close();
});

test("an interrupt line is masked as it fires, and fires again as long as its cause stands", async () => {
  const { arena, bus } = fit({ interrupts: "intx" });
  assert.deepEqual([bus.interruptKind, bus.vectors], ["intx", 1]);
  assert.equal(bus.configRead(0x3d, 1), 1, "its pin is INTA#");
  assert.equal(bus.configRead(0x34, 1), 0, "and it has no capability for messages");
  const fired = () => Atomics.load(arena.u32, bus.counter(0) >>> 2);
  const pull = () => bus.bar(0).write32(24, 1);
  const letGo = () => bus.bar(0).write32(28, 1);
  bus.enableInterrupts(1);
  pull();
  pull();
  bus.bar(0).read32(32);
  assert.equal(fired(), 1);
  bus.unmask(0);
  assert.equal(fired(), 2, "nobody has acknowledged it");
  letGo();
  bus.unmask(0);
  assert.equal(fired(), 2);
  pull();
  bus.bar(0).read32(32);
  assert.equal(fired(), 3);
  assert.throws(() => bus.enableInterrupts(2), { code: "ERR_DEVICE" });
  await bus.close();
  const msi = fit({ interrupts: "msi" }).bus;
  assert.deepEqual([msi.interruptKind, msi.vectors], ["msi", 1]);
  assert.equal(msi.configRead(msi.configRead(0x34, 1), 1), 5);
  await msi.close();
});

test("plain device memory is the same memory on both sides, each access entered; ports are answered one by one", async () => {
  const { arena, bus } = fit();
  const memory = bus.bar(2);
  memory.write32(64, 0xabcdef01);
  assert.equal(arena.u32[(memory.window! + 64) >>> 2], 0xabcdef01);
  assert.equal(memory.read16(66), 0xabcd);
  const ports = bus.bar(1);
  ports.write8(8, 5);
  assert.equal(ports.read8(8), 5);
  const { mmioWrites, mmioReadBytes, portWrites, portReads } = bus.ledger();
  assert.deepEqual(
    { mmioWrites, mmioReadBytes, portWrites, portReads },
    {
      mmioWrites: 1,
      mmioReadBytes: 2,
      portWrites: 1,
      portReads: 1,
    },
  );
  await bus.close();
});
