// The packets that one round of the packet fuzzer tries, made from recorded ones.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CHECKSUM_GOOD, META_TCP_SEGMENTS, META_UDP_SEGMENTS } from "../../src/kernels/structs.js";
import type { LinkType } from "../../src/packet/types.js";
import { readPcap } from "../packet/captures.js";
import { MUTATION_GROWTH, mutateInto, type Random } from "./fuzzer.js";

export interface Input {
  readonly bytes: Uint8Array;
  /** It is cut into pieces of so many bytes. */
  readonly piece: number;
  /** What its metadata says. */
  readonly segment: number;
  readonly flags: number;
}

export interface Round {
  readonly linkType: LinkType;
  readonly inputs: readonly Input[];
  readonly mtu: number;
  /** Headroom of each packet. */
  readonly room: number;
}

interface Seed {
  readonly linkType: number;
  readonly bytes: Uint8Array;
}

/** Link types that have headers here, PPP among them. */
const LINKS = [0, 1, 9, 101, 108, 113, 228, 229, 276];
const INPUTS = 64;
const PIECES = 400;
const LONGEST = 3000;

function readSeeds(): Seed[] {
  const folder = fileURLToPath(new URL("../../../test/data/captures/", import.meta.url));
  const seeds: Seed[] = [];
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".pcap"))) {
    try {
      const { linkType, packets } = readPcap(join(folder, name));
      for (const bytes of packets.slice(0, 20)) if (bytes.length <= LONGEST) seeds.push({ linkType, bytes });
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error; // of a kind that this reader does not know
    }
  }
  assert.ok(seeds.length > 0, "there are no captures to start from");
  return seeds;
}

/** A function that makes one round after the other, over the same memory. */
export function createRounds(random: Random): () => Round {
  const seeds = readSeeds();
  const byLink = new Map(LINKS.map((link) => [link, seeds.filter((seed) => seed.linkType === link)]));
  const memory = new Uint8Array(INPUTS * (LONGEST + MUTATION_GROWTH));
  return () => {
    const first = random.pick(seeds);
    const linkType =
      random.below(10) === 0 || !LINKS.includes(first.linkType) ? random.pick(LINKS) : first.linkType;
    const kin = byLink.get(linkType) ?? [];
    const inputs: Input[] = [];
    let seed = first;
    let at = 0;
    for (let pieces = 0; inputs.length < INPUTS && pieces < PIECES; ) {
      // Several that began alike stand together: they are of one flow, and some of one datagram.
      if (inputs.length % 8 === 7)
        seed = random.below(4) === 0 || kin.length === 0 ? random.pick(seeds) : random.pick(kin);
      const from = random.below(4) === 0 ? random.pick(seeds).bytes : seed.bytes;
      const room = memory.subarray(at, at + LONGEST + MUTATION_GROWTH);
      let { length } = from;
      if (random.below(8) === 0) room.set(from);
      else length = mutateInto(random, from, room);
      const piece = random.below(3) === 0 ? 8 + random.below(80) : 2048;
      inputs.push({
        bytes: room.subarray(0, length),
        piece,
        segment: random.below(4) === 0 ? 1 + random.below(1500) : 0,
        flags: random.pick([0, CHECKSUM_GOOD, CHECKSUM_GOOD, META_TCP_SEGMENTS, META_UDP_SEGMENTS, 3]),
      });
      pieces += Math.ceil(length / piece);
      at += length;
    }
    return { linkType, inputs, mtu: 60 + random.below(1500), room: random.below(300) };
  };
}

/** A round as text, from which it can be made again. */
export function describeRound(round: Round): string {
  const inputs = round.inputs.map((input) => ({ ...input, bytes: Buffer.from(input.bytes).toString("hex") }));
  return JSON.stringify({ ...round, inputs });
}
