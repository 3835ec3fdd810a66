// The thread in which modelled devices live. It serves requests and steps the devices; when there is nothing to
// do it sleeps until a request or a timer, and looks at its messages in between.
import { parentPort, workerData } from "node:worker_threads";
import { type ArenaShare, attachArena } from "../../memory/arena.js";
import { createMachine, fitDevice, hasRequests, stepMachine } from "./machine.js";
import { MACHINE_GONE, MACHINE_SLEEPS, MACHINE_WAKE } from "./mailbox.js";
import { findModel } from "./models.js";
import type { FitAnswer, FitMessage } from "./thread.js";

const { share, shared } = workerData as { readonly share: ArenaShare; readonly shared: number };
const port = parentPort!;
const arena = attachArena(share);
const machine = createMachine(arena, () => performance.now() * 1000);
const gone = () => Atomics.store(arena.u32, (shared + MACHINE_GONE) >>> 2, 1);
process.on("exit", gone);

port.on("message", async (message: FitMessage) => {
  let reply: FitAnswer;
  try {
    const make = await findModel(message.model);
    const { model, slot } = fitDevice(machine, make, message.mailbox, message.parameters);
    reply = { ok: true, bars: model.bars, slot, seat: arena.worker };
  } catch (error) {
    reply = { ok: false, message: error instanceof Error ? error.message : String(error) };
  }
  port.postMessage(reply);
});

const IDLE_SLEEP = 20; // milliseconds: how long a message may wait for a sleeping machine
const TURN = 2; // milliseconds of work between two looks at the messages
const SPIN = 400; // idle steps before sleeping: a driver that polls is answered at once

function sleep(): void {
  const wake = (shared + MACHINE_WAKE) >>> 2;
  const sleeps = (shared + MACHINE_SLEEPS) >>> 2;
  const seen = Atomics.load(arena.i32, wake);
  Atomics.store(arena.u32, sleeps, 1);
  if (!hasRequests(machine)) {
    let time = IDLE_SLEEP;
    for (const { model } of machine.devices) time = Math.min(time, (model.due?.() ?? Infinity) / 1000);
    if (time > 0) Atomics.wait(arena.i32, wake, seen, time);
  }
  Atomics.store(arena.u32, sleeps, 0);
}

function run(): void {
  const until = performance.now() + TURN;
  let idle = 0;
  do {
    for (let steps = 0; steps < 16; steps++) idle = stepMachine(machine) ? 0 : idle + 1;
    if (idle > SPIN) {
      sleep();
      break;
    }
  } while (performance.now() < until);
  setImmediate(run);
}
run();
