// What is asked of the `edu` device, of QEMU's in a guest and of its model alike.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { type Device, type DeviceMemory, openDevice } from "millrace/device";

const IDENTITY = 0x00;
const LIVENESS = 0x04;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const INTERRUPT_STATUS = 0x24;
const ACKNOWLEDGE = 0x64;
const DMA = 0x80;
const BUFFER = 0x40000;
/** Starts a transfer of the device's and sleeps until its interrupt says that it is done. */
async function transfer(
  device: Device,
  from: number,
  to: number,
  bytes: number,
  command: number,
): Promise<void> {
  const registers = device.bar(0);
  for (const [i, value] of [from, to, bytes, command].entries())
    registers.write64(DMA + 8 * i, BigInt(value));
  await device.until(() => (registers.read32(DMA + 24) & 1) === 0, 0);
  registers.write32(ACKNOWLEDGE, registers.read32(INTERRUPT_STATUS));
}

/** Moves all of `from` to `to` through the device's own buffer. */
async function throughDevice(
  device: Device,
  from: DeviceMemory,
  to: DeviceMemory,
  piece: number,
): Promise<void> {
  for (let at = 0; at < from.bytes.length; at += piece) {
    const bytes = Math.min(piece, from.bytes.length - at);
    await transfer(device, from.address + at, BUFFER, bytes, 1 | 4);
    await transfer(device, BUFFER, to.address + at, bytes, 1 | 2 | 4);
  }
}

/** Tests the device `name`, moving `bytes` through it in pieces of `piece` bytes. */
export function testEdu(name: string, bytes: number, piece: number): void {
  test(`${name} says who it is, and that it is alive`, async () => {
    await using device = await openDevice(name, { dmaBits: 28 });
    assert.equal(device.identity.vendor, 0x1234);
    assert.equal(device.identity.device, 0x11e8);
    assert.equal(device.configRead(0, 4), 0x11e81234);
    const registers = device.bar(0);
    assert.equal(registers.bytes, 1 << 20);
    assert.equal(registers.read32(IDENTITY), 0x010000ed);
    for (const value of [0, 1, 0xdeadbeef, 0xffffffff]) {
      registers.write32(LIVENESS, value);
      assert.equal(registers.read32(LIVENESS), ~value >>> 0);
    }
    assert.throws(() => registers.read32(1 << 20), { code: "ERR_BOUNDS" });
    assert.throws(() => registers.read32(2), { code: "ERR_BOUNDS" });
    assert.throws(() => device.bar(4), { code: "ERR_DEVICE" });
  });

  for (const wait of ["interrupt", "adaptive"] as const)
    test(`${name} computes a factorial and tells it by an interrupt (${wait})`, async () => {
      await using device = await openDevice(name, { wait });
      const registers = device.bar(0);
      registers.write32(STATUS, 0x80);
      registers.write32(FACTORIAL, 12);
      for await (const count of device.interrupts(0, AbortSignal.timeout(120_000))) {
        assert.ok(count >= 1);
        break;
      }
      assert.equal(registers.read32(FACTORIAL), 479_001_600);
      assert.equal(registers.read32(INTERRUPT_STATUS) & 1, 1);
      registers.write32(ACKNOWLEDGE, 1);
      assert.equal(registers.read32(INTERRUPT_STATUS), 0);
    });

  test(`a thread that opens ${name} is interrupted itself`, async () => {
    const worker = new Worker(new URL("./edu-worker.js", import.meta.url), { workerData: name });
    const ended = once(worker, "exit");
    const [heard] = await once(worker, "message");
    assert.ok(heard.count >= 1);
    assert.equal(heard.factorial, 720);
    assert.deepEqual(await ended, [0]);
  });

  test(`${name} is polled until its factorial is done (busy)`, async () => {
    await using device = await openDevice(name, { wait: "busy" });
    const registers = device.bar(0);
    registers.write32(FACTORIAL, 10);
    await device.until(() => (registers.read32(STATUS) & 1) === 0, 0, AbortSignal.timeout(120_000));
    assert.equal(registers.read32(FACTORIAL), 3_628_800);
  });

  test(`${bytes} bytes go from memory into ${name} and back by its own DMA`, async (context) => {
    await using device = await openDevice(name, { dmaBits: 28 });
    const from = device.memory(bytes);
    const to = device.memory(bytes);
    const copied = device.memory(bytes);
    for (let at = 0; at < bytes; at++) from.bytes[at] = (at * 2654435761) >>> 24;
    const started = performance.now();
    await throughDevice(device, from, to, piece);
    const moved = performance.now();
    copied.copy(0, from, 0, bytes);
    const done = performance.now();
    assert.deepEqual(Buffer.from(to.bytes), Buffer.from(from.bytes));
    assert.deepEqual(Buffer.from(copied.bytes), Buffer.from(from.bytes));
    const rate = (milliseconds: number) => `${(bytes / milliseconds).toFixed(0)} kB/s`;
    context.diagnostic(`by the device ${rate(moved - started)}, by memory.copy ${rate(done - moved)}`);
  });

  test(`memory that ${name} cannot address is refused, with the reason`, async () => {
    // The regions of an arena of 512 MiB lie at its end, beyond the device's 28 bits.
    await using device = await openDevice(name, { dmaBits: 28, arenaBytes: 512 * 2 ** 20 });
    assert.throws(() => device.memory(4096), {
      code: "ERR_DEVICE",
      message: /drives 28 bits of address: it cannot reach \d+/,
    });
  });

  test(`${name} can be opened again after it was closed, and nothing of a closed one can be used`, async () => {
    const device = await openDevice(name);
    const memory = device.memory(4096);
    await device.close();
    await device.close();
    assert.throws(() => device.bar(0), { code: "ERR_CLOSED" });
    assert.throws(() => memory.read32(0), { code: "ERR_RELEASED" });
    await using again = await openDevice(name);
    assert.equal(again.bar(0).read32(IDENTITY), 0x010000ed);
  });

  test(`examples/hear-a-device hears ${name}`, async () => {
    const example = fileURLToPath(new URL("../../examples/hear-a-device.js", import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [example, name]);
    assert.match(stdout, /says it is 10000ed/);
    assert.match(stdout, /1 (msix|msi|intx) interrupt: 10! is 3628800/);
    assert.match(stdout, /came back by DMA: hello, device/);
  });
}
