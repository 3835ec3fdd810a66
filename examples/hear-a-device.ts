// Drives QEMU's `edu` device, or its model where there is none: `node hear-a-device.js [0000:00:05.0]`.
import { openDevice } from "millrace/device";

const device = await openDevice(process.argv[2] ?? "edu@model", { dmaBits: 28 });
const registers = device.bar(0);
console.log(`${device.name} says it is ${registers.read32(0x00).toString(16)}`);

registers.write32(0x20, 0x80); // interrupt when the factorial is done
registers.write32(0x08, 10);
for await (const count of device.interrupts(0)) {
  registers.write32(0x64, registers.read32(0x24)); // acknowledge
  console.log(`${count} ${device.interruptKind} interrupt: 10! is ${registers.read32(0x08)}`);
  break;
}

const memory = device.memory(4096); // both of us see it, the device at memory.address
memory.bytes.set(new TextEncoder().encode("hello, device"));
for (const [from, to, command] of [
  [memory.address, 0x40000, 5], // into the device's own buffer; 4: interrupt when done
  [0x40000, memory.address + 2048, 7], // and back, to another place
]) {
  for (const [i, value] of [from, to, 13, command].entries()) registers.write64(0x80 + 8 * i, BigInt(value));
  await device.until(() => (registers.read32(0x98) & 1) === 0, 0); // asked at each interrupt
}
console.log(`came back by DMA: ${new TextDecoder().decode(memory.bytes.subarray(2048, 2048 + 13))}`);
await device.close();
