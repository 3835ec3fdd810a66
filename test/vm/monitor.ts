// QEMU's own monitor, on the guest's second serial port: the hand that pulls a cable.
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const TTY = "/dev/ttyS1";

/** Asks QEMU (QMP, a JSON object a line) to do something, and waits for its answer. */
async function ask(fd: number, execute: string, fields: object = {}): Promise<void> {
  writeSync(fd, `${JSON.stringify({ execute, arguments: fields })}\n`);
  const bytes = Buffer.alloc(4096);
  let text = "";
  for (let turn = 0; turn < 500; turn++) {
    try {
      text += bytes.toString("latin1", 0, readSync(fd, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    // The greeting and events come between, on lines of their own.
    const answer = text
      .split("\n")
      .find((line) => /"(return|error)": .*\r?$/.test(line) && text.endsWith("\n"));
    if (answer?.includes('"error"')) throw new Error(`QEMU refuses ${execute}: ${answer}`);
    if (answer !== undefined) return;
    await sleep(10);
  }
  throw new Error(`QEMU does not answer ${execute}: ${text}`);
}

let negotiated = false;

/** Puts a card's cable in, or pulls it. */
export async function setLink(card: string, up: boolean): Promise<void> {
  execFileSync("stty", ["-F", TTY, "raw", "-echo"]);
  const fd = openSync(TTY, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  try {
    if (!negotiated) await ask(fd, "qmp_capabilities");
    negotiated = true;
    await ask(fd, "set_link", { name: card, up });
  } finally {
    closeSync(fd);
  }
}
