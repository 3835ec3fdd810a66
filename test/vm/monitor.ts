// QEMU's own monitor, on the guest's second serial port: the hand that pulls a cable.
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const TTY = "/dev/ttyS1";
/**
 * Ends whatever QEMU has half read: a byte that no JSON text may hold sends its parser back to the beginning. A
 * terminal echoes what it receives until it is told not to, so QEMU may have heard its own greeting.
 */
const RESET_PARSER = Buffer.from([0xff, 0x0a]);
const ANSWER_TIME_MS = 1000;
const ATTEMPTS = 120;

interface Answer {
  id?: string;
  error?: { class: string; desc: string };
}

let asked = 0;

/** Asks QEMU (QMP, a JSON object a line) to do something once, and waits for the answer that carries our number. */
async function askOnce(fd: number, execute: string, fields: object): Promise<Answer | undefined> {
  const id = `millrace-${++asked}`;
  const request = Buffer.from(`${JSON.stringify({ execute, arguments: fields, id })}\n`);
  await writeAll(fd, Buffer.concat([RESET_PARSER, request]));
  const bytes = Buffer.alloc(4096);
  let text = "";
  const end = Date.now() + ANSWER_TIME_MS;
  while (Date.now() < end) {
    try {
      text += bytes.toString("latin1", 0, readSync(fd, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    // The greeting, events and complaints about what was half read come between, on lines of their own.
    const line = text.split("\n").find((one) => one.endsWith("\r") && one.includes(`"${id}"`));
    if (line !== undefined) return JSON.parse(line) as Answer;
    await sleep(10);
  }
  return undefined;
}

/** The terminal takes as much as it has room for. */
async function writeAll(fd: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await sleep(10);
    }
  }
}

async function ask(fd: number, execute: string, fields: object = {}): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const answer = await askOnce(fd, execute, fields);
    if (answer === undefined) continue;
    // Capabilities are negotiated once: a second time the command is unknown, which is what we wanted.
    const again = execute === "qmp_capabilities" && answer.error?.class === "CommandNotFound";
    if (answer.error && !again) throw new Error(`QEMU refuses ${execute}: ${answer.error.desc}`);
    return;
  }
  throw new Error(`QEMU does not answer ${execute} in ${(ATTEMPTS * ANSWER_TIME_MS) / 1000} s`);
}

/** Puts a card's cable in, or pulls it. */
export async function setLink(card: string, up: boolean): Promise<void> {
  execFileSync("stty", ["-F", TTY, "raw", "-echo"]);
  const fd = openSync(TTY, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  try {
    await ask(fd, "qmp_capabilities");
    await ask(fd, "set_link", { name: card, up });
  } finally {
    closeSync(fd);
  }
}
