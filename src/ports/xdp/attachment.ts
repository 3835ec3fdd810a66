import { readlinkSync } from "node:fs";
import { MillraceError } from "../../errors.js";
import {
  attachXdp,
  clearXskMap,
  createXskMap,
  loadXdpProgram,
  replaceXdp,
  setXskMap,
  type XdpMode,
} from "../../linux/bpf.js";
import type { EbpfItem } from "../../linux/ebpf.js";
import { libc } from "../../linux/libc.js";
import type { Link } from "../../linux/links.js";
import { xdpProgram } from "./program.js";

/** The program on one interface, shared by all queues that this thread has open there. */
export interface Attachment {
  readonly mode: XdpMode;
  /** Why it is not native although that was not ruled out. */
  readonly why: string | undefined;
  /** Lets a queue's packets go to a socket, and no more. */
  connect(queue: number, socket: number): void;
  disconnect(queue: number): void;
  /** Puts a filter before the redirection; the same for all queues. Throws ERR_FILTER. */
  filter(code: readonly EbpfItem[]): void;
  /** Detaches the program when the last user lets go. */
  release(): void;
}

interface Shared {
  users: number;
  readonly mode: XdpMode;
  readonly why: string | undefined;
  readonly link: number;
  readonly map: number;
}

const attached = new Map<string, Shared>();

/** Attaches millrace's program to an interface, or joins the one this thread attached before. */
export function attach(link: Link, wanted: XdpMode | undefined): Attachment {
  // Interface indices repeat from one network namespace to the next.
  const key = `${readlinkSync("/proc/thread-self/ns/net")} ${link.index}`;
  let shared = attached.get(key);
  if (shared !== undefined && wanted !== undefined && shared.mode !== wanted)
    throw new MillraceError("EBUSY", `${link.name} is open in ${shared.mode} mode already, not ${wanted}`, {
      hint: "one interface has one XDP mode: close the other port first, or ask for the same",
    });
  if (shared === undefined) {
    shared = attachNew(link, wanted);
    attached.set(key, shared);
  }
  shared.users++;
  return handle(key, shared);
}

function attachNew(link: Link, wanted: XdpMode | undefined): Shared {
  const { close } = libc();
  const map = createXskMap(Math.max(64, link.queues.rx));
  let program = -1;
  try {
    program = loadXdpProgram(xdpProgram(map));
    const { fd, mode, why } = attachBest(program, link, wanted);
    return { users: 0, mode, why, link: fd, map };
  } catch (error) {
    close(map);
    throw error;
  } finally {
    if (program >= 0) close(program); // the link keeps it
  }
}

function attachBest(
  program: number,
  link: Link,
  wanted: XdpMode | undefined,
): { readonly fd: number; readonly mode: XdpMode; readonly why: string | undefined } {
  if (wanted !== undefined)
    return { fd: attachXdp(program, link.index, wanted), mode: wanted, why: undefined };
  try {
    return { fd: attachXdp(program, link.index, "native"), mode: "native", why: undefined };
  } catch (error) {
    const code = error instanceof MillraceError ? error.code : "";
    if (!["EOPNOTSUPP", "ENOTSUP", "EINVAL", "ERANGE", "ENOMEM"].includes(code)) throw error;
    const why = `generic XDP, because the driver refuses native mode (${code})`;
    return { fd: attachXdp(program, link.index, "generic"), mode: "generic", why };
  }
}

function handle(key: string, shared: Shared): Attachment {
  let released = false;
  return {
    mode: shared.mode,
    why: shared.why,
    connect: (queue, socket) => setXskMap(shared.map, queue, socket),
    disconnect: (queue) => clearXskMap(shared.map, queue),
    filter(code) {
      const program = loadXdpProgram(xdpProgram(shared.map, code));
      try {
        replaceXdp(shared.link, program);
      } finally {
        libc().close(program);
      }
    },
    release() {
      if (released) return;
      released = true;
      shared.users--;
      if (shared.users > 0) return;
      attached.delete(key);
      libc().close(shared.link);
      libc().close(shared.map);
    },
  };
}
