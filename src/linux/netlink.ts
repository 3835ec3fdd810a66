// rtnetlink(7) and generic netlink: questions and orders to the kernel, answered at once; events as they come.
import { MillraceError } from "../errors.js";
import { lackOf } from "./capabilities.js";
import { check, ERRNO, systemError } from "./errno.js";
import { libc } from "./libc.js";
import {
  addressBody,
  changeBody,
  decodeAddress,
  decodeLink,
  type InterfaceAddress,
  type Link,
  type LinkChange,
  linkBody,
  RTM_DELLINK,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  type VethEnd,
  type VethOptions,
  vethBody,
} from "./links.js";
import {
  decodeMessages,
  encodeMessage,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./netlink-messages.js";
import { AF_NETLINK, openSocket, SOCK_RAW } from "./socket.js";
import { watch } from "./watch.js";

export const NETLINK_ROUTE = 0;
export const NETLINK_GENERIC = 16;
const RTMGRP_LINK = 1;
const RECEIVE_BYTES = 256 * 1024;

const HINTS = {
  get EPERM() {
    return lackOf("CAP_NET_ADMIN");
  },
  EEXIST: "an interface of that name is there already",
};

/** Sends one request and returns what the kernel answers, acknowledgements left out. Throws its error. */
export function request(
  family: number,
  type: number,
  flags: number,
  body: Buffer,
  subject: string,
): NetlinkMessage[] {
  const fd = openSocket(AF_NETLINK, SOCK_RAW, family, subject);
  try {
    const dump = (flags & NLM_F_DUMP) === NLM_F_DUMP;
    const message = encodeMessage({
      type,
      flags: flags | NLM_F_REQUEST | (dump ? 0 : NLM_F_ACK),
      sequence: 1,
      body,
    });
    check(libc().sendto(fd, message, message.length, 0, null, 0), "sendto", subject, HINTS);
    return collect(fd, subject);
  } finally {
    libc().close(fd);
  }
}

function collect(fd: number, subject: string): NetlinkMessage[] {
  const answers: NetlinkMessage[] = [];
  const buffer = Buffer.alloc(RECEIVE_BYTES);
  for (;;) {
    const got = check(libc().recvfrom(fd, buffer, buffer.length, 0, null, null), "recvfrom", subject);
    for (const message of decodeMessages(Buffer.from(buffer.subarray(0, got)))) {
      if (message.type === NLMSG_DONE) return answers;
      if (message.type === NLMSG_ERROR) {
        const code = message.body.length >= 4 ? message.body.readInt32LE(0) : -ERRNO.EPROTO;
        if (code === 0) return answers;
        throw systemError(-code, "netlink", subject, HINTS);
      }
      answers.push(message);
    }
  }
}

/** All interfaces of this thread's network namespace, in the order of their indices. */
export function listLinks(): Link[] {
  return request(NETLINK_ROUTE, RTM_GETLINK, NLM_F_DUMP, linkBody(0, 0, 0), "listing the interfaces")
    .map((message) => decodeLink(message.body))
    .filter((link) => link !== undefined)
    .sort((a, b) => a.index - b.index);
}

/** One interface. Throws ENODEV, naming it, where there is none. */
export function findLink(nameOrIndex: string | number): Link {
  const found = listLinks().find((link) => link.name === nameOrIndex || link.index === nameOrIndex);
  if (found !== undefined) return found;
  throw new MillraceError("ENODEV", `there is no interface "${nameOrIndex}"`, {
    hint: "`millrace ports --all` lists what there is",
  });
}

/** Brings an interface up or down, sets its MTU, name or hardware address, or moves it to another namespace. */
export function changeLink(name: string, change: LinkChange): void {
  const body = changeBody(findLink(name).index, change);
  request(NETLINK_ROUTE, RTM_NEWLINK, 0, body, `interface ${name}`);
}

export function deleteLink(name: string): void {
  request(NETLINK_ROUTE, RTM_DELLINK, 0, linkBody(findLink(name).index, 0, 0), `interface ${name}`);
}

/** Makes a pair of veth interfaces, each end in this namespace or in the one behind a descriptor. */
export function createVeth(one: VethEnd, other: VethEnd, options: VethOptions = {}): void {
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  const subject = `veth pair ${one.name}, ${other.name}`;
  request(NETLINK_ROUTE, RTM_NEWLINK, flags, vethBody(one, other, options), subject);
}

/** The addresses of all interfaces of this thread's network namespace. */
export function listAddresses(): InterfaceAddress[] {
  return request(NETLINK_ROUTE, RTM_GETADDR, NLM_F_DUMP, Buffer.alloc(8), "listing the addresses")
    .map((message) => decodeAddress(message.body))
    .filter((address) => address !== undefined);
}

/** Gives an interface an address, as `10.0.0.1` with prefix 24. */
export function addAddress(name: string, address: string, prefix: number): void {
  const body = addressBody({ index: findLink(name).index, address, prefix });
  request(NETLINK_ROUTE, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, `address ${address} of ${name}`);
}

// ── Events.

export interface LinkEvent {
  /** `changed` also for a new interface. */
  readonly what: "changed" | "gone";
  readonly link: Link;
}

export interface LinkEvents {
  /** The events since the last call; waits for the first one. Rejects with the signal's reason. */
  next(signal: AbortSignal): Promise<LinkEvent[]>;
  close(): void;
}

/** Listens to what happens to the interfaces of this thread's network namespace. */
export function linkEvents(): LinkEvents {
  const subject = "interface events";
  const fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, subject);
  const address = Buffer.alloc(12); // struct sockaddr_nl
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(RTMGRP_LINK, 8);
  check(libc().bind(fd, address, address.length), "bind", subject);
  const readiness = watch(fd);
  const buffer = Buffer.alloc(RECEIVE_BYTES);
  let closed = false;

  function drain(): LinkEvent[] {
    const events: LinkEvent[] = [];
    while (!closed) {
      const got = libc().recvfrom(fd, buffer, buffer.length, 0, null, null);
      if (got < 0) {
        const errno = libc().errno();
        if (errno === ERRNO.EAGAIN) break;
        if (errno === ERRNO.ENOBUFS) continue; // events were lost; those that follow carry the whole state
        throw systemError(errno, "recvfrom", subject);
      }
      for (const message of decodeMessages(buffer.subarray(0, got))) {
        const link = decodeLink(message.body);
        if (link === undefined || (message.type !== RTM_NEWLINK && message.type !== RTM_DELLINK)) continue;
        events.push({ what: message.type === RTM_NEWLINK ? "changed" : "gone", link });
      }
    }
    return events;
  }

  return {
    async next(signal) {
      for (;;) {
        const events = drain();
        if (events.length > 0 || closed) return events;
        await readiness.readable(signal);
      }
    },
    close() {
      if (closed) return;
      closed = true;
      readiness.close();
      libc().close(fd);
    },
  };
}
