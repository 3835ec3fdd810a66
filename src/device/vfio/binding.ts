// Taking a PCI device from its kernel driver for vfio-pci and giving it back, through sysfs
// (Documentation/ABI/testing/sysfs-bus-pci). Never a device that the machine itself needs, unless told to.
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { MillraceError } from "../../errors.js";

const DEVICES = "/sys/bus/pci/devices";
const NETWORK_CLASS = 0x02;

export interface Binding {
  /** Number of the device's IOMMU group. */
  readonly group: string;
  /** Gives the device back to the driver it had. */
  restore(): void;
}

function linkName(path: string): string | undefined {
  return existsSync(path) ? basename(readlinkSync(path)) : undefined;
}

/** Network interfaces that the kernel runs on the device. */
function interfacesOf(address: string): string[] {
  const folder = join(DEVICES, address);
  const holders = [folder, ...readdirSync(folder).map((name) => join(folder, name))];
  return holders
    .filter((holder) => basename(holder) === address || basename(holder).startsWith("virtio"))
    .map((holder) => join(holder, "net"))
    .filter((path) => existsSync(path))
    .flatMap((path) => readdirSync(path));
}

/** Why the machine itself needs a network interface; undefined when it does not. */
function routeOver(name: string): string | undefined {
  const master = linkName(`/sys/class/net/${name}/master`);
  if (master !== undefined) return `${name} is a part of ${master}`;
  const rows = (path: string) =>
    existsSync(path)
      ? readFileSync(path, "utf8")
          .split("\n")
          .map((line) => line.trim().split(/\s+/))
      : [];
  if (rows("/proc/net/route").some((row) => row[0] === name)) return `${name} has an IPv4 route`;
  // Link-local and multicast routes are there as soon as an interface is up.
  const global = (row: readonly string[]) => row[9] === name && !/^(fe80|ff)/.test(row[0]);
  return rows("/proc/net/ipv6_route").some(global) ? `${name} has an IPv6 route` : undefined;
}

function refuseIfNeeded(address: string, driver: string): void {
  const classCode = Number.parseInt(readFileSync(join(DEVICES, address, "class"), "utf8"), 16);
  if (classCode >>> 16 !== NETWORK_CLASS)
    throw new MillraceError(
      "ERR_DEVICE",
      `${address} is in use by the kernel's driver ${driver} and no network card`,
      {
        hint: "open it with `force` if nothing on this machine needs it",
      },
    );
  for (const name of interfacesOf(address)) {
    const reason = routeOver(name);
    if (reason !== undefined)
      throw new MillraceError("ERR_DEVICE", `${address} carries this machine's own traffic: ${reason}`, {
        hint: "take its addresses and routes away first, or open it with `force`",
      });
  }
}

/** Binds a device to vfio-pci, if it is not yet. Throws ERR_DEVICE where it must not or cannot be. */
export function bindVfio(address: string, force: boolean): Binding {
  const folder = join(DEVICES, address);
  if (!existsSync(folder))
    throw new MillraceError("ERR_DEVICE", `there is no PCI device ${address}`, {
      hint: `${DEVICES} and lspci -D list them`,
    });
  const group = linkName(join(folder, "iommu_group"));
  if (group === undefined)
    throw new MillraceError("ERR_DEVICE", `${address} stands behind no IOMMU, so it could write anywhere`, {
      hint: "switch the IOMMU on in the firmware, and boot with intel_iommu=on or amd_iommu=on",
    });
  const driver = linkName(join(folder, "driver"));
  if (driver === "vfio-pci") return { group, restore: () => {} };
  if (driver !== undefined && !force) refuseIfNeeded(address, driver);
  const write = (path: string, text: string) => {
    try {
      writeFileSync(path, text);
    } catch (cause) {
      throw new MillraceError(
        "ERR_DEVICE",
        `${address} cannot be bound to vfio-pci: ${(cause as Error).message}`,
        {
          cause,
          hint: "it takes root; or bind it beforehand and give your user /dev/vfio",
        },
      );
    }
  };
  const probe = (override: string) => {
    if (existsSync(join(folder, "driver"))) write(join(folder, "driver/unbind"), address);
    write(join(folder, "driver_override"), override);
    write("/sys/bus/pci/drivers_probe", address);
  };
  const restore = () => probe("\n"); // an empty line takes the override away; then the kernel chooses again
  probe("vfio-pci");
  if (linkName(join(folder, "driver")) !== "vfio-pci") {
    restore();
    throw new MillraceError("ERR_DEVICE", `vfio-pci does not take ${address}`, {
      hint: "load it (modprobe vfio-pci)",
    });
  }
  return { group, restore };
}
