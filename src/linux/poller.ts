// One epoll set a thread, on its event loop as a handle of Node's own.
//
// The addons' way, a uv_poll with a callback into JavaScript (koffi.node.poll), ends the whole process when a descriptor
// becomes ready while its thread is being terminated: the addon may no longer call, and takes that for a fatal error.
// Node's own handles know of it. Of those the UDP socket takes any descriptor that has come to stand in its place: the
// loop finds the epoll set readable, recvmsg() says ENOTSOCK, the socket says "error" and goes on listening. When the
// thread ends, Node closes the set with the socket.
import { createSocket, type Socket } from "node:dgram";
import { check } from "./errno.js";
import { libc } from "./libc.js";
import { AF_INET, openSocket, SOCK_DGRAM } from "./socket.js";

/** The descriptors watched in this thread. */
export interface Poller {
  /** Arms a descriptor that is not in yet; `ready` hears what it has, once each time it is armed. */
  add(fd: number, events: number, ready: (events: number) => void): void;
  /** Asks the kernel again: for poll(2) events, and for errors and hang-ups, until the first of them. */
  arm(fd: number, events: number): void;
  remove(fd: number): void;
  /** Keeps the event loop alive, until as often let go. */
  hold(): void;
  letGo(): void;
}

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLONESHOT = 1 << 30;
const SUBJECT = "watching descriptors";
// struct epoll_event: events, then the descriptor in 64 bits; packed on x86-64 alone (<sys/epoll.h>).
const WORDS = process.arch === "x64" ? 3 : 4;
const DATA = process.arch === "x64" ? 1 : 2;
const MOST = 64;

let poller: Poller | undefined;

/** This thread's. It ends with the last descriptor taken out of it. */
export function pollerOf(): Poller {
  poller ??= createPoller();
  return poller;
}

function createPoller(): Poller {
  const watched = new Map<number, (events: number) => void>();
  const event = new Int32Array(WORDS);
  const events = new Int32Array(WORDS * MOST);
  const { socket, epoll } = openSet();
  let holds = 0;

  function control(operation: number, fd: number, what: number): void {
    event[0] = what;
    event[DATA] = fd;
    check(libc().epoll_ctl(epoll, operation, fd, event), "epoll_ctl", `watching descriptor ${fd}`);
  }

  socket.on("error", () => {
    const count = check(libc().epoll_wait(epoll, events, MOST, 0), "epoll_wait", SUBJECT);
    // First all that is in the set: whoever is called may take out another, and put in a new one of its number.
    const found = Array.from({ length: count }, (_, i) => {
      const fd = events[i * WORDS + DATA];
      return { fd, ready: watched.get(fd), has: events[i * WORDS] };
    });
    for (const { fd, ready, has } of found) if (watched.get(fd) === ready) ready?.(has);
  });

  return {
    add(fd, wanted, ready) {
      control(EPOLL_CTL_ADD, fd, wanted | EPOLLONESHOT);
      watched.set(fd, ready);
    },
    arm(fd, wanted) {
      control(EPOLL_CTL_MOD, fd, wanted | EPOLLONESHOT);
    },
    remove(fd) {
      watched.delete(fd);
      control(EPOLL_CTL_DEL, fd, 0);
      if (watched.size > 0) return;
      socket.close();
      poller = undefined;
    },
    hold() {
      if (holds++ === 0) socket.ref();
    },
    letGo() {
      if (--holds === 0) socket.unref();
    },
  };
}

/** A UDP socket of Node's with an epoll set in its descriptor's place. */
function openSet(): { readonly socket: Socket; readonly epoll: number } {
  const epoll = openSocket(AF_INET, SOCK_DGRAM, 0, SUBJECT);
  const set = check(libc().epoll_create1(EPOLL_CLOEXEC), "epoll_create1", SUBJECT);
  const socket = createSocket("udp4");
  // Before the event loop turns and takes note of what stands there.
  socket.bind({ fd: epoll, exclusive: true });
  socket.unref();
  check(libc().dup3(set, epoll, EPOLL_CLOEXEC), "dup3", SUBJECT);
  check(libc().close(set), "close", SUBJECT);
  return { socket, epoll };
}
