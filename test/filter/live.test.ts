import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { startIn } from "../kit/netns.js";
import { expression, seeded } from "./grammar.js";
import { createLive, liveFrames } from "./live.js";

test("random filters on live traffic: packet:, libpcap's program at a socket, xdp: and WebAssembly let the same through", async (t) => {
  const random = seeded(19);
  const live = await createLive(t, liveFrames(random, 20));
  if (live === undefined) return;
  for (let round = 0; round < 120; round++) await live.step(expression(random, 3));
  const told = JSON.stringify(live.counts);
  assert.ok(live.counts.compared > 60 && live.counts.telling > 20, told);
  assert.ok(live.counts.apart <= 6 && live.counts.reordered <= 3 && live.counts.shortened <= 1, told);
});

test("tcpdump on the same interface shows what a filter lets through, tags that the kernel took out included", async (t) => {
  const live = await createLive(t, liveFrames(seeded(23), 40));
  if (live === undefined) return;
  let shown = 0;
  for (const text of [
    "ip",
    "udp or tcp port 80",
    "vlan",
    "vlan 100 and udp",
    "vlan and vlan 200",
    "vlan 200",
    "ip6 and not vlan",
    "not vlan and ip6",
    "less 200 and not arp",
    "ether multicast",
  ]) {
    await live.step(text);
    const passing: readonly string[] = live.passing(text).map((frame) => Buffer.from(frame).toString("hex"));
    shown += passing.length;
    const options = ["-i", live.interface, "-s", "2000", "-U", "--immediate-mode", "-w", "-", "--", text];
    const tcpdump = startIn(t, live.namespace, "tcpdump", ...options);
    let said = "";
    tcpdump.stderr?.on("data", (told) => {
      said += told;
    });
    while (!said.includes("listening on")) await once(tcpdump.stderr!, "data");
    const chunks: Buffer[] = [];
    tcpdump.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
    // What has come to the other sockets of the interface has come to tcpdump's.
    await live.send(live.frames);
    for (let waited = 0; framesOf(Buffer.concat(chunks)).length < passing.length && waited < 3000; waited++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    tcpdump.kill("SIGINT");
    await once(tcpdump, "close");
    assert.deepEqual(framesOf(Buffer.concat(chunks)), passing, text);
    assert.match(said, new RegExp(`^${passing.length} packets? received by filter`, "m"), text);
  }
  assert.ok(shown > 2 * live.frames.length, `${shown} frames were let through`);
});

/** The packets of as much of a capture file as there is. */
function framesOf(file: Buffer): string[] {
  const frames: string[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const end = at + 16 + file.readUInt32LE(at + 8);
    if (end > file.length) break;
    frames.push(file.toString("hex", at + 16, end));
    at = end;
  }
  return frames;
}
