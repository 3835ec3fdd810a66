// What `ethtool` shows and sets, through its ioctl (linux/ethtool.h).
import { MillraceError } from "../errors.js";
import { lackOf } from "./capabilities.js";
import { check, ERRNO, systemError } from "./errno.js";
import { libc, loadKoffi } from "./libc.js";
import { AF_INET, openSocket, SOCK_DGRAM } from "./socket.js";

const SIOCETHTOOL = 0x8946;
const ETHTOOL_GDRVINFO = 0x03;
const ETHTOOL_GSTRINGS = 0x1b;
const ETHTOOL_GSSET_INFO = 0x37;
const ETHTOOL_GFEATURES = 0x3a;
const ETHTOOL_SFEATURES = 0x3b;
const ETHTOOL_GCHANNELS = 0x3c;
const ETH_SS_FEATURES = 4;
const STRING = 32;

/** One ioctl with the structure in `command`, whose first u32 is the command's number; the answer lies there too. */
function ethtool(name: string, command: Buffer, subject: string): void {
  const fd = openSocket(AF_INET, SOCK_DGRAM, 0, subject);
  try {
    const ifreq = Buffer.alloc(40);
    ifreq.write(name.slice(0, 15), 0, "latin1");
    ifreq.writeBigUInt64LE(BigInt(loadKoffi().address(command)), 16);
    check(libc().ioctl(fd, SIOCETHTOOL, ifreq), "ioctl", subject, {
      get EPERM() {
        return lackOf("CAP_NET_ADMIN");
      },
      EOPNOTSUPP: "the interface's driver cannot do that",
      ENODEV: "`millrace ports --all` lists what there is",
    });
  } finally {
    libc().close(fd);
  }
}

function textAt(bytes: Buffer, at: number, length: number): string {
  return bytes
    .subarray(at, at + length)
    .toString("latin1")
    .replace(/\0.*$/s, "");
}

export interface Driver {
  readonly name: string;
  readonly version: string;
  /** PCI address or the like; empty for a virtual interface. */
  readonly bus: string;
}

export function readDriver(name: string): Driver {
  const command = Buffer.alloc(196); // struct ethtool_drvinfo
  command.writeUInt32LE(ETHTOOL_GDRVINFO);
  ethtool(name, command, `driver of ${name}`);
  return { name: textAt(command, 4, 32), version: textAt(command, 36, 32), bus: textAt(command, 100, 32) };
}

export interface Channels {
  readonly rx: number;
  readonly tx: number;
  readonly combined: number;
  readonly most: { readonly rx: number; readonly tx: number; readonly combined: number };
}

/** The queues of an interface as its driver counts them; undefined where it does not. */
export function readChannels(name: string): Channels | undefined {
  const command = Buffer.alloc(36); // struct ethtool_channels
  command.writeUInt32LE(ETHTOOL_GCHANNELS);
  try {
    ethtool(name, command, `channels of ${name}`);
  } catch (error) {
    if (error instanceof MillraceError && error.code === "EOPNOTSUPP") return undefined;
    throw error;
  }
  const at = (index: number) => command.readUInt32LE(4 * index);
  return { rx: at(5), tx: at(6), combined: at(8), most: { rx: at(1), tx: at(2), combined: at(4) } };
}

export interface Feature {
  readonly on: boolean;
  /** The driver lets it be switched. */
  readonly switchable: boolean;
}

/** The offload features of an interface by their names in `ethtool -k` (`tx-checksum-ip-generic`, `rx-gro`, …). */
export function readFeatures(name: string): ReadonlyMap<string, Feature> {
  const names = featureNames(name);
  const blocks = Math.ceil(names.length / 32);
  const command = Buffer.alloc(8 + 16 * blocks); // struct ethtool_gfeatures
  command.writeUInt32LE(ETHTOOL_GFEATURES);
  command.writeUInt32LE(blocks, 4);
  ethtool(name, command, `features of ${name}`);
  const features = new Map<string, Feature>();
  for (const [bit, feature] of names.entries()) {
    const block = 8 + 16 * (bit >>> 5);
    const mask = 1 << (bit & 31);
    features.set(feature, {
      on: (command.readInt32LE(block + 8) & mask) !== 0,
      switchable: (command.readInt32LE(block) & mask) !== 0 && (command.readInt32LE(block + 12) & mask) === 0,
    });
  }
  return features;
}

/** Switches features by name. Throws for an unknown name, or what the driver will not switch. */
export function setFeatures(name: string, wanted: Readonly<Record<string, boolean>>): void {
  const names = featureNames(name);
  const blocks = Math.ceil(names.length / 32);
  const command = Buffer.alloc(8 + 8 * blocks); // struct ethtool_sfeatures
  command.writeUInt32LE(ETHTOOL_SFEATURES);
  command.writeUInt32LE(blocks, 4);
  for (const [feature, on] of Object.entries(wanted)) {
    const bit = names.indexOf(feature);
    if (bit < 0) throw systemError(ERRNO.EINVAL, "ioctl", `${name} has no feature "${feature}"`);
    const block = 8 + 8 * (bit >>> 5);
    const mask = 1 << (bit & 31);
    command.writeInt32LE(command.readInt32LE(block) | mask, block);
    if (on) command.writeInt32LE(command.readInt32LE(block + 4) | mask, block + 4);
  }
  ethtool(name, command, `features of ${name}`);
}

function featureNames(name: string): string[] {
  const subject = `feature names of ${name}`;
  const info = Buffer.alloc(20); // struct ethtool_sset_info
  info.writeUInt32LE(ETHTOOL_GSSET_INFO);
  info.writeBigUInt64LE(1n << BigInt(ETH_SS_FEATURES), 8);
  ethtool(name, info, subject);
  const count = info.readUInt32LE(16);
  const strings = Buffer.alloc(12 + STRING * count); // struct ethtool_gstrings
  strings.writeUInt32LE(ETHTOOL_GSTRINGS);
  strings.writeUInt32LE(ETH_SS_FEATURES, 4);
  strings.writeUInt32LE(count, 8);
  ethtool(name, strings, subject);
  return Array.from({ length: count }, (_, index) => textAt(strings, 12 + STRING * index, STRING));
}
