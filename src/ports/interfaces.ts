// What the network interfaces of this machine offer to ports.
import { readFileSync } from "node:fs";
import { type Channels, readChannels, readDriver, readFeatures } from "../linux/ethtool.js";
import type { Link } from "../linux/links.js";
import { type XdpFeatures, xdpFeatures } from "../linux/netdev.js";
import { listLinks } from "../linux/netlink.js";

export interface InterfaceInfo {
  readonly link: Link;
  readonly driver: string;
  /** PCI address or the like; empty for a virtual interface. */
  readonly bus: string;
  readonly channels: Channels | undefined;
  /** undefined: the kernel is too old to say (before 6.3). */
  readonly xdp: XdpFeatures | undefined;
  /** True for a virtio card that has native XDP, and whose host keeps it from being used. */
  readonly hostForbidsNative: boolean;
  /** Offloads that are on, as `ethtool -k` names them, of those that matter to packets. */
  readonly offloads: readonly string[];
  /** NUMA node of the card; undefined where there is none. */
  readonly numa: number | undefined;
}

const OFFLOADS: Readonly<Record<string, string>> = {
  "rx-checksum": "rx checksum",
  "tx-checksum-ip-generic": "tx checksum",
  "tx-checksum-ipv4": "tx checksum",
  "tx-scatter-gather": "scatter-gather",
  "tx-tcp-segmentation": "TSO",
  "tx-udp-segmentation": "UDP GSO",
  "rx-gro": "GRO",
  "rx-lro": "LRO",
  "rx-hashing": "RSS hash",
  "rx-vlan-hw-parse": "VLAN",
};

/** All interfaces of this thread's network namespace. Needs no privilege. */
export function listInterfaces(): InterfaceInfo[] {
  return listLinks().map((link) => {
    const driver = orUndefined(() => readDriver(link.name));
    const features = orUndefined(() => readFeatures(link.name));
    const names = Object.entries(OFFLOADS).filter(([feature]) => features?.get(feature)?.on === true);
    return {
      link,
      driver: driver?.name ?? link.kind ?? "",
      bus: driver?.bus ?? "",
      channels: orUndefined(() => readChannels(link.name)),
      xdp: orUndefined(() => xdpFeatures(link.index)),
      hostForbidsNative: driver?.name === "virtio_net" && forbidsNative(virtioFeatures(link.name)),
      offloads: [...new Set(names.map(([, name]) => name))],
      numa: numaNode(link.name),
    };
  });
}

/** VIRTIO_NET_F_: what the host leaves unfinished for the guest, and whether the guest can have it stop (virtio 1.2, 5.1.3). */
const CTRL_GUEST_OFFLOADS = 2;
const GUEST_OFFLOADS: readonly number[] = [1, 7, 8, 9, 10, 54, 55]; // CSUM, TSO4, TSO6, ECN, UFO, USO4, USO6

/** Whether virtnet_xdp_set() of Linux's driver refuses a program: `features` as sysfs has them, a digit a bit. */
export function forbidsNative(features: string): boolean {
  const has = (bit: number) => features[bit] === "1";
  return !has(CTRL_GUEST_OFFLOADS) && GUEST_OFFLOADS.some(has);
}

function virtioFeatures(name: string): string {
  try {
    return readFileSync(`/sys/class/net/${name}/device/features`, "utf8");
  } catch {
    return ""; // another network namespace's, or no sysfs
  }
}

/** Queues in use, receive side. */
export function queuesOf({ channels, link }: InterfaceInfo): number {
  return channels === undefined ? link.queues.rx : Math.max(1, channels.rx + channels.combined);
}

// A driver that does not know a question is no failure of the list.
function orUndefined<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    const { code } = error as { code?: string };
    if (["EOPNOTSUPP", "ENOTSUP", "ENODEV", "EINVAL", "EPERM"].includes(code ?? "")) return undefined;
    throw error;
  }
}

function numaNode(name: string): number | undefined {
  try {
    const node = Number(readFileSync(`/sys/class/net/${name}/device/numa_node`, "utf8"));
    return node >= 0 ? node : undefined;
  } catch {
    return undefined; // a virtual interface has no device, and so no node
  }
}
