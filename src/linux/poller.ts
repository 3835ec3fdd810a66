// One epoll set a thread, on its event loop as a handle of Node's own.
//
// The addons' way, a uv_poll with a callback into JavaScript (koffi.node.poll), ends the whole process when a descriptor
// becomes ready while its thread is being terminated: the addon may no longer call, and takes that for a fatal error.
// Node's own handles know of it. What they do when the loop finds their descriptor readable is to read it, and an epoll
// set cannot be read. But what the loop waits for is the file that stood under the descriptor's number when it took
// note of it, and what is read is what stands there now (epoll(7)): first the set, then an eventfd that has always
// something to read. So the stream's data mean that the set has something, at the cost of reading eight bytes.
import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { check } from "./errno.js";
import { libc } from "./libc.js";
import { AF_UNIX, openSocket, SOCK_STREAM } from "./socket.js";

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
const EFD_SEMAPHORE = 1;
const EFD_NONBLOCK = 0x800;
const EFD_CLOEXEC = 0x80000;
const MOST_READS = 2n ** 64n - 2n; // eventfd(2)
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
  const early = new Map<number, number>(); // what is armed before the loop waits for the set
  const event = new Int32Array(WORDS);
  const events = new Int32Array(WORDS * MOST);
  const found: (((events: number) => void) | undefined)[] = new Array(MOST).fill(undefined); // grown, it is compiled anew
  const set = openSet();
  const stream = openStream(set, tell);
  let waitedFor = false;
  let closed = false;
  let holds = 0;

  afterTurn(() => {
    if (closed) return;
    waitedFor = true;
    standIn(stream.fd);
    for (const [fd, wanted] of early) control(EPOLL_CTL_ADD, fd, wanted);
    early.clear();
  });

  function control(operation: number, fd: number, what: number): void {
    event[0] = what;
    event[DATA] = fd;
    check(libc().epoll_ctl(set, operation, fd, event), "epoll_ctl", `watching descriptor ${fd}`);
  }

  function tell(): void {
    const count = check(libc().epoll_wait(set, events, MOST, 0), "epoll_wait", SUBJECT);
    // First all that is in the set: whoever is called may take out another, and put in a new one of its number.
    for (let i = 0; i < count; i++) found[i] = watched.get(events[i * WORDS + DATA]);
    for (let i = 0; i < count; i++)
      if (watched.get(events[i * WORDS + DATA]) === found[i]) found[i]?.(events[i * WORDS]);
  }

  return {
    add(fd, wanted, ready) {
      if (waitedFor) control(EPOLL_CTL_ADD, fd, wanted | EPOLLONESHOT);
      else early.set(fd, wanted | EPOLLONESHOT);
      watched.set(fd, ready);
    },
    arm(fd, wanted) {
      if (waitedFor) control(EPOLL_CTL_MOD, fd, wanted | EPOLLONESHOT);
      else early.set(fd, wanted | EPOLLONESHOT);
    },
    remove(fd) {
      watched.delete(fd);
      if (waitedFor) control(EPOLL_CTL_DEL, fd, 0);
      else early.delete(fd);
      if (watched.size > 0) return;
      closed = true;
      poller = undefined;
      // The set first: with its last descriptor it leaves the loop, which cannot take it out by the stream's.
      closeSync(set);
      stream.socket.destroy();
    },
    hold() {
      if (holds++ === 0) stream.socket.ref();
    },
    letGo() {
      if (--holds === 0) stream.socket.unref();
    },
  };
}

/** An epoll set under a descriptor of Node's, which closes it with its thread. */
function openSet(): number {
  const set = openSync("/dev/null", "r");
  moveTo(set, check(libc().epoll_create1(EPOLL_CLOEXEC), "epoll_create1", SUBJECT));
  return set;
}

interface Stream {
  readonly socket: Socket;
  readonly fd: number;
}

/** A stream of Node's that the loop reads when `set` has something, once it has taken note of it. */
function openStream(set: number, tell: () => void): Stream {
  const fd = openSocket(AF_UNIX, SOCK_STREAM, 0, SUBJECT);
  const callback = () => {
    tell();
    return true; // go on reading
  };
  // Larger than what is read at once: a full buffer would be read again.
  const options = { fd, readable: true, writable: false, onread: { buffer: new Uint8Array(64), callback } };
  const socket = new Socket(options);
  socket.unref();
  check(libc().dup3(set, fd, EPOLL_CLOEXEC), "dup3", SUBJECT);
  return { socket, fd };
}

/** Puts an eventfd in the place of a descriptor that gives eight bytes for each of 2^64 reads. */
function standIn(fd: number): void {
  const endless = check(libc().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE), "eventfd", SUBJECT);
  check(libc().write(endless, new BigUint64Array([MOST_READS]), 8), "write", SUBJECT);
  moveTo(fd, endless);
}

/** Puts what stands under the descriptor `made` under `fd` instead. */
function moveTo(fd: number, made: number): void {
  check(libc().dup3(made, fd, EPOLL_CLOEXEC), "dup3", SUBJECT);
  check(libc().close(made), "close", SUBJECT);
}

/** Calls back when the event loop has waited, if for no time, since now: it takes note of new handles just before. */
function afterTurn(callback: () => void): void {
  // The first comes in this turn if this is one of its events.
  setImmediate(() => setImmediate(callback));
}
