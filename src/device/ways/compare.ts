import { MillraceError } from "../../errors.js";
import { BURST_PACKETS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { appendPacket, createBurst, destroyBurst } from "../../memory/burst.js";
import type { Bus } from "../bus/bus.js";
import { openE1000e } from "../e1000e/open.js";
import { arm, clean, closeCard, linkUp, send } from "../e1000e/run.js";
import type { ModelBus } from "../model/bus.js";
import type { MakeModel } from "../model/device.js";
import { createModelE1000e } from "../model/e1000e/model.js";
import { createStillMachine, type StillMachine } from "../model/inthread.js";
import { type Ledger, ledgerBetween } from "../model/ledger.js";
import { createWire } from "../model/wire.js";
import { makeDmaController, sendByDmaController } from "./dma-controller.js";
import { makePortIo, sendByPortIo } from "./port-io.js";
import { makeSharedMemory, sendBySharedMemory } from "./shared-memory.js";

/** What it took to hand one packet to a device. */
export interface Way {
  readonly name: string;
  readonly ledger: Ledger;
}

/** What it took a bus master to send packets in batches of one size. */
export interface Batch {
  readonly batch: number;
  readonly packets: number;
  readonly ledger: Ledger;
}

type Sender = (bus: Bus, address: number, bytes: number) => void | Promise<void>;

/** Moves the same packet of `bytes` bytes to four modelled devices, each its own way; what arrives is compared. */
export async function compareWays(arena: ArenaMemory, bytes: number): Promise<Way[]> {
  const address = arena.kernels.takeFrame() >>> 0;
  for (let i = 0; i < bytes; i++) arena.u8[address + i] = (i * 31) & 0xff;
  const simple: readonly [string, (sent: (frame: Uint8Array) => void) => MakeModel, Sender][] = [
    ["port I/O", makePortIo, sendByPortIo],
    ["memory-mapped buffer", makeSharedMemory, sendBySharedMemory],
    ["DMA controller", makeDmaController, sendByDmaController],
  ];
  const ways: Way[] = [];
  for (const [name, make, sender] of simple) {
    let got: Uint8Array | undefined;
    const machine = createStillMachine(arena);
    const bus = machine.fit(
      `${name}@model`,
      make((frame) => {
        got = frame;
      }),
    );
    bus.map(0, arena.frames * arena.frameSize);
    bus.setBusMaster(true);
    bus.enableInterrupts(bus.vectors);
    const before = bus.ledger();
    const done = sender(bus, address, bytes);
    machine.settle();
    await done;
    ways.push({ name, ledger: ledgerBetween(before, bus.ledger()) });
    await bus.close();
    machine.close();
    check(name, got, arena.u8.subarray(address, address + bytes));
  }
  arena.kernels.releaseFrame(address);
  const [single] = await countBatches(arena, bytes, [1], 1);
  return [...ways, { name: "bus master", ledger: single.ledger }];
}

function check(name: string, got: Uint8Array | undefined, sent: Uint8Array): void {
  if (got === undefined || got.length !== sent.length || sent.some((byte, i) => byte !== got[i]))
    throw new MillraceError("ERR_DEVICE", `${name}: what arrived is not what was sent`);
}

/** Sends `packets` packets of `bytes` bytes through the 82574L's driver and model, in batches of each given size. */
export async function countBatches(
  arena: ArenaMemory,
  bytes: number,
  sizes: readonly number[],
  packets: number,
): Promise<Batch[]> {
  const batches: Batch[] = [];
  for (const batch of sizes) {
    const machine = createStillMachine(arena);
    const wire = createWire(true);
    let arrived = 0;
    wire.tap = (frame) => {
      if (frame.length === Math.max(bytes, 60)) arrived++;
    };
    const bus = machine.fit("e1000e@model", (host) => createModelE1000e(host, wire, mac).device);
    batches.push({ batch, packets, ledger: await sendBatches(arena, machine, bus, bytes, batch, packets) });
    machine.close();
    if (arrived !== packets)
      throw new MillraceError("ERR_DEVICE", `${arrived} of ${packets} packets were sent`);
  }
  return batches;
}

const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);

async function sendBatches(
  arena: ArenaMemory,
  machine: StillMachine,
  bus: ModelBus,
  bytes: number,
  batch: number,
  packets: number,
): Promise<Ledger> {
  const card = openE1000e(bus, { promiscuous: false, moderation: 0 });
  await linkUp(card);
  machine.settle();
  const burst = createBurst(arena, batch);
  const before = bus.ledger();
  for (let sent = 0; sent < packets; ) {
    const count = Math.min(batch, packets - sent);
    for (let i = 0; i < count; i++) {
      const frame = arena.kernels.takeFrame() >>> 0;
      arena.u8.fill(0, frame, frame + bytes);
      arena.u8[frame] = 2; // to nobody: the loopback plug brings it back, and the filter drops it
      appendPacket(arena, burst, [frame, bytes]);
    }
    send(card, 0, burst, 0);
    arm(card, { receive: false, transmit: true });
    machine.settle();
    clean(card);
    sent += count;
    arena.kernels.burstRelease(burst, 0);
  }
  const ledger = ledgerBetween(before, bus.ledger());
  if (arena.u32[(burst + BURST_PACKETS) >>> 2] !== 0)
    throw new MillraceError("ERR_DEVICE", "packets were left over");
  destroyBurst(arena, burst);
  await closeCard(card);
  return ledger;
}
