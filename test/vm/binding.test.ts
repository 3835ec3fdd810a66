// Taking cards from the kernel and giving them back, and the cards that are not to be taken.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { openBus } from "../../src/device/bus/open.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { interfaceAt, ip } from "./peers.js";
import { PLACES } from "./rig.js";

const arena = createArenaMemory({ bytes: 16 * 2 ** 20 });
const [place] = PLACES;

function driverOf(address: string): string | undefined {
  const link = `/sys/bus/pci/devices/${address}/driver`;
  return existsSync(link) ? basename(readlinkSync(link)) : undefined;
}

test("an idle card is taken from its kernel driver while it is open, and the kernel has it back afterwards", async () => {
  const before = driverOf(place.card);
  assert.equal(before, "e1000e");
  const bus = await openBus(arena, place.card);
  assert.equal(driverOf(place.card), "vfio-pci");
  assert.deepEqual([bus.identity.vendor, bus.identity.device], [0x8086, 0x10d3]);
  await bus.close();
  assert.equal(driverOf(place.card), before);
});

test("a card that the machine's own traffic goes over is not taken", async () => {
  const name = interfaceAt(place.peer);
  ip("addr", "replace", `${place.kernel}/24`, "dev", name);
  ip("link", "set", name, "up");
  await assert.rejects(openBus(arena, place.peer), {
    code: "ERR_DEVICE",
    message: /carries this machine's own traffic: \w+ has an IPv4 route/,
  });
  assert.equal(interfaceAt(place.peer), name);
});

test("a device that is no network card and in use is not taken, one that is not there is named", async () => {
  const isNetwork = (address: string) =>
    readFileSync(`/sys/bus/pci/devices/${address}/class`, "utf8").startsWith("0x02");
  const disk = readdirSync("/sys/bus/pci/devices").find(
    (address) => driverOf(address) === "virtio-pci" && !isNetwork(address),
  );
  assert.ok(disk, "the guest's own file system is on a virtio device");
  await assert.rejects(openBus(arena, disk), { code: "ERR_DEVICE", message: /no network card/ });
  await assert.rejects(openBus(arena, "0000:00:1e.7"), {
    code: "ERR_DEVICE",
    message: /there is no PCI device/,
  });
});
