// A thread that opens the device it is given, and tells its parent what it hears there.
import { parentPort, workerData } from "node:worker_threads";
import { openDevice } from "millrace/device";

const device = await openDevice(workerData as string, { wait: "interrupt" });
const registers = device.bar(0);
registers.write32(0x20, 0x80); // interrupt when the factorial is done
registers.write32(0x08, 6);
for await (const count of device.interrupts(0)) {
  parentPort!.postMessage({ count, factorial: registers.read32(0x08) });
  break;
}
await device.close();
