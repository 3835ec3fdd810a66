import { statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { MillraceError } from "../../errors.js";
import {
  attachedIsOwn,
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
import type { ArenaMemory } from "../../memory/arena.js";
import { announceAttachment, attachmentUnderWay, joinAttachment, type Record } from "./directory.js";
import { xdpProgram } from "./program.js";

/** The program on one interface, shared by all queues that this process has open there. */
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

interface Attached {
  readonly mode: XdpMode;
  readonly why: string | undefined;
  readonly link: number;
  readonly map: number;
}

/** How long a thread waits for one that is attaching at the same moment: the kernel may keep that one in its call. */
const PUBLISHING_MILLISECONDS = 10_000;
/** The place was taken, and by nobody of this arena, so often in a row: one that went meanwhile would be free the next time. */
const OTHERS = 3;

/** Attaches millrace's program to an interface, or joins the one that this process attached before. */
export async function attach(
  arena: ArenaMemory,
  link: Link,
  wanted: XdpMode | undefined,
): Promise<Attachment> {
  // Interface indices repeat from one network namespace to the next.
  const netns = statSync("/proc/thread-self/ns/net").ino;
  const end = performance.now() + PUBLISHING_MILLISECONDS;
  for (let others = 0; ; ) {
    const record = joinAttachment(arena, netns, link.index);
    if (record !== undefined) return join(record, link, wanted);
    try {
      return attachHere(arena, netns, link, wanted);
    } catch (error) {
      const { code } = error as { code?: string };
      // Another process's, or one that a thread of this one is about to let others join.
      if (code !== "EBUSY" || performance.now() > end || !attachedIsOwn(link.index)) throw error;
      others = attachmentUnderWay(arena, netns, link.index) ? 0 : others + 1;
      if (others >= OTHERS) throw elsewhere(link);
      if (others === 0) await delay(10);
    }
  }
}

function attachHere(arena: ArenaMemory, netns: number, link: Link, wanted: XdpMode | undefined): Attachment {
  const announcement = announceAttachment(arena, netns, link.index);
  try {
    const attached = attachNew(link, wanted);
    return handle(link, attached, announcement?.publish(attached));
  } catch (error) {
    announcement?.withdraw();
    throw error;
  }
}

function elsewhere({ name }: Link): MillraceError {
  return new MillraceError("EBUSY", `${name} is open on another arena of this program already`, {
    hint: "open all ports of one interface on one arena",
  });
}

function join(record: Record, link: Link, wanted: XdpMode | undefined): Attachment {
  const { mode, link: fd, map } = record;
  const attachment = handle(link, { mode, why: undefined, link: fd, map }, record);
  if (wanted === undefined || wanted === mode) return attachment;
  attachment.release();
  throw new MillraceError("EBUSY", `${link.name} is open in ${mode} mode already, not ${wanted}`, {
    hint: "one interface has one XDP mode: close the other port first, or ask for the same",
  });
}

function attachNew(link: Link, wanted: XdpMode | undefined): Attached {
  const { close } = libc();
  const subject = `xdp:${link.name}`;
  const map = createXskMap(Math.max(64, link.queues.rx), subject);
  let program = -1;
  try {
    program = loadXdpProgram(xdpProgram(map), subject);
    return { ...attachBest(program, link, wanted), map };
  } catch (error) {
    close(map);
    throw error;
  } finally {
    if (program >= 0) close(program); // the link keeps it
  }
}

function attachBest(program: number, link: Link, wanted: XdpMode | undefined): Omit<Attached, "map"> {
  if (wanted !== undefined)
    return { link: attachXdp(program, link.index, wanted), mode: wanted, why: undefined };
  try {
    return { link: attachXdp(program, link.index, "native"), mode: "native", why: undefined };
  } catch (error) {
    const code = error instanceof MillraceError ? error.code : "";
    if (!["EOPNOTSUPP", "ENOTSUP", "EINVAL", "ERANGE", "ENOMEM"].includes(code)) throw error;
    const why = `the driver refuses native mode (${code})`;
    return { link: attachXdp(program, link.index, "generic"), mode: "generic", why };
  }
}

function handle({ name }: Link, attached: Attached, record: Record | undefined): Attachment {
  const { mode, why, link, map } = attached;
  let released = false;
  return {
    mode,
    why,
    connect: (queue, socket) => setXskMap(map, queue, socket),
    disconnect: (queue) => clearXskMap(map, queue),
    filter(code) {
      const program = loadXdpProgram(xdpProgram(map, code), `xdp:${name}`);
      try {
        replaceXdp(link, program);
      } finally {
        libc().close(program);
      }
    },
    release() {
      if (released) return;
      released = true;
      if (record !== undefined) return record.leave();
      libc().close(link);
      libc().close(map);
    },
  };
}
