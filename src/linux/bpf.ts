// bpf(2): maps, programs and links, as far as XDP needs them (linux/bpf.h).
import { readdirSync, readFileSync } from "node:fs";
import { MillraceError } from "../errors.js";
import { lackOf } from "./capabilities.js";
import { check, systemError } from "./errno.js";
import { libc, loadKoffi } from "./libc.js";
import { findLink } from "./netlink.js";

const SYS_BPF = process.arch === "arm64" ? 280 : 321;
const BPF_MAP_CREATE = 0;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_MAP_DELETE_ELEM = 3;
const BPF_PROG_LOAD = 5;
const BPF_LINK_CREATE = 28;
const BPF_LINK_UPDATE = 29;
const BPF_MAP_TYPE_XSKMAP = 17;
const BPF_PROG_TYPE_XDP = 6;
const BPF_XDP = 37;
const BPF_F_XDP_HAS_FRAGS = 1 << 5;
const XDP_FLAGS_SKB_MODE = 2;
const XDP_FLAGS_DRV_MODE = 4;
const ELEMENT = 32; // attributes of the calls on a map's elements
const LOG_BYTES = 64 * 1024;

/** Helper functions by their numbers (enum bpf_func_id). */
export const BPF_FUNC_redirect_map = 51;

const HINTS = {
  get EPERM() {
    return lackOf("CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW"); // all that xdp: needs, not only this call
  },
  ENOSYS: "this kernel has no bpf(2)",
};

/** bpf(2) itself: its result, or -1 with errno. What the attributes point to must outlive the call. */
export function bpf(command: number, attributes: Buffer, bytes = attributes.length): number {
  return libc().syscall(SYS_BPF, command, attributes, bytes, null, null, null);
}

function addressOf(bytes: ArrayBufferView): bigint {
  return BigInt(loadKoffi().address(bytes));
}

/** Makes a map from queue numbers to AF_XDP sockets; returns its descriptor. */
export function createXskMap(entries: number, subject: string): number {
  const attributes = Buffer.alloc(72);
  attributes.writeUInt32LE(BPF_MAP_TYPE_XSKMAP, 0);
  attributes.writeUInt32LE(4, 4); // key
  attributes.writeUInt32LE(4, 8); // value
  attributes.writeUInt32LE(entries, 12);
  return check(bpf(BPF_MAP_CREATE, attributes), "bpf", `${subject}: creating an XSKMAP`, HINTS);
}

/** Lets a queue's packets go to an AF_XDP socket. */
export function setXskMap(map: number, queue: number, socket: number): void {
  check(
    bpf(BPF_MAP_UPDATE_ELEM, element(map, queue, socket), ELEMENT),
    "bpf",
    `queue ${queue} of the XSKMAP`,
  );
}

/** Takes a queue's socket out of the map; a queue that is not there is left alone. */
export function clearXskMap(map: number, queue: number): void {
  bpf(BPF_MAP_DELETE_ELEM, element(map, queue, 0), ELEMENT);
}

// Key and value stand behind the attributes in one buffer, so that nothing can be collected before the call.
function element(map: number, key: number, value: number): Buffer {
  const attributes = Buffer.alloc(ELEMENT + 8);
  const address = addressOf(attributes);
  attributes.writeUInt32LE(map, 0);
  attributes.writeBigUInt64LE(address + BigInt(ELEMENT), 8);
  attributes.writeBigUInt64LE(address + BigInt(ELEMENT + 4), 16);
  attributes.writeUInt32LE(key, ELEMENT);
  attributes.writeUInt32LE(value, ELEMENT + 4);
  return attributes;
}

/**
 * Loads an XDP program for packets of several buffers; returns its descriptor. Throws ERR_FILTER with the
 * verifier's last words when it refuses the program, EPERM without the capability.
 */
export function loadXdpProgram(instructions: Buffer, subject: string): number {
  const log = Buffer.alloc(LOG_BYTES);
  const license = Buffer.from("Dual BSD/GPL\0");
  const load = (withLog: boolean): number => {
    const attributes = Buffer.alloc(128);
    attributes.writeUInt32LE(BPF_PROG_TYPE_XDP, 0);
    attributes.writeUInt32LE(instructions.length / 8, 4);
    attributes.writeBigUInt64LE(addressOf(instructions), 8);
    attributes.writeBigUInt64LE(addressOf(license), 16);
    attributes.writeUInt32LE(withLog ? 1 : 0, 24);
    attributes.writeUInt32LE(withLog ? LOG_BYTES : 0, 28);
    attributes.writeBigUInt64LE(withLog ? addressOf(log) : 0n, 32);
    attributes.writeUInt32LE(BPF_F_XDP_HAS_FRAGS, 44);
    attributes.write("millrace", 48, "latin1");
    attributes.writeUInt32LE(BPF_XDP, 68);
    return bpf(BPF_PROG_LOAD, attributes);
  };
  const program = load(false);
  if (program >= 0) return program;
  const error = systemError(libc().errno(), "bpf", `${subject}: loading an XDP program`, HINTS);
  if (error.code !== "EINVAL" && error.code !== "EACCES") throw error;
  load(true); // once more, for what the verifier has to say
  const said = log.toString("latin1").replace(/\0.*$/s, "").trimEnd().split("\n").slice(-4).join("; ");
  throw new MillraceError(
    "ERR_FILTER",
    `${subject}: the kernel refuses the XDP program: ${said || error.message}`,
    {
      cause: error,
    },
  );
}

export type XdpMode = "native" | "generic";

/**
 * Attaches a program to an interface by a link: it goes away with the descriptor returned, and so with the
 * process. Throws EBUSY, naming what is there, when another program is attached.
 */
export function attachXdp(program: number, index: number, mode: XdpMode): number {
  const attributes = Buffer.alloc(48);
  attributes.writeUInt32LE(program, 0);
  attributes.writeUInt32LE(index, 4);
  attributes.writeUInt32LE(BPF_XDP, 8);
  attributes.writeUInt32LE(mode === "native" ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE, 12);
  const link = bpf(BPF_LINK_CREATE, attributes);
  if (link >= 0) return link;
  const errno = libc().errno();
  const { name, xdp } = findLink(index);
  const error = systemError(errno, "bpf", `attaching XDP to ${name} in ${mode} mode`, HINTS);
  if (error.code !== "EBUSY" && error.code !== "EEXIST") throw error;
  const other = xdp === undefined ? "another XDP program" : `XDP program ${xdp.program} (${xdp.mode})`;
  throw new MillraceError("EBUSY", `${name}: ${other} is attached already`, {
    syscall: "bpf",
    errno: -errno,
    cause: error,
    hint: `end the process that attached it (bpftool net; bpftool link), or, if it was attached by hand: ip link set dev ${name} xdp off`,
  });
}

/**
 * True when the program attached to an interface is one that this process has loaded, in whatever thread, or when
 * there is none any more: in descriptors' details (/proc/self/fdinfo) a program and the link that holds it name it.
 */
export function attachedIsOwn(index: number): boolean {
  const program = findLink(index).xdp?.program;
  if (program === undefined) return true;
  const named = new RegExp(`^prog_id:\\s*${program}$`, "m");
  return readdirSync("/proc/self/fdinfo").some((fd) => {
    try {
      return named.test(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
    } catch {
      return false; // closed meanwhile: the descriptor of the directory itself, for one
    }
  });
}

/** Puts another program in the place of the one that a link attached, without a gap. */
export function replaceXdp(link: number, program: number): void {
  const attributes = Buffer.alloc(48);
  attributes.writeUInt32LE(link, 0);
  attributes.writeUInt32LE(program, 4);
  check(bpf(BPF_LINK_UPDATE, attributes), "bpf", "replacing an XDP program", HINTS);
}
