import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { compileFilter } from "../../src/filter/compile.js";
import { BURST_METAS, META_FLAGS, META_SIZE, META_TAGGED, META_VLAN } from "../../src/kernels/structs.js";
import { createBench } from "../kit/driver.js";
import { makeNamespaces, makeVeth, runIn } from "../kit/netns.js";
import { classified, loadBurst } from "./backends.js";
import { capturedPackets } from "./oracle.js";

const EXPRESSIONS = [
  "ip",
  "udp or tcp port 80",
  "vlan",
  "vlan 100",
  "vlan 100 and udp",
  "not vlan and ip6",
  "vlan and vlan 200",
  "less 200 and not arp",
  "ether multicast",
];

/** What WebAssembly says of frames whose outermost tag stands beside their bytes, as the kernel keeps it. */
function verdicts(frames: readonly Uint8Array[], program: ClassicProgram): boolean[] {
  const tags = frames.map((frame) => (frame[12] === 0x81 ? (frame[14] << 8) | frame[15] : undefined));
  const untagged = frames.map((frame, i) => {
    const bytes =
      tags[i] === undefined ? frame : Uint8Array.from([...frame.subarray(0, 12), ...frame.subarray(16)]);
    return { bytes, wireLength: bytes.length };
  });
  const loaded = loadBurst(untagged);
  const { u16, u32 } = loaded.arena;
  tags.forEach((tag, i) => {
    const meta = u32[(loaded.burst + BURST_METAS) >>> 2] + i * META_SIZE;
    if (tag === undefined) return;
    u16[(meta + META_FLAGS) >>> 1] |= META_TAGGED;
    u16[(meta + META_VLAN) >>> 1] = tag;
  });
  return classified(loaded, program);
}

/** A frame with a VLAN tag put in. */
function tagged(frame: Uint8Array, id: number): Uint8Array {
  return Uint8Array.from([...frame.subarray(0, 12), 0x81, 0x00, id >>> 8, id & 255, ...frame.subarray(12)]);
}

test("a filter on a packet: port lets through exactly what it matches, tags that the kernel took out included", async (t) => {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return;
  for (const name of Object.values(names))
    runIn(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  makeVeth({ namespace: names.one, name: "va" }, { namespace: names.two, name: "vb" });
  const { open, send, receive, close } = createBench();
  t.after(close);
  const sink = await open("packet:va", "out", names.one);
  const plain = [...capturedPackets(4).get("EN10MB")!]
    .map(({ bytes }) => bytes)
    // Frames whose type says they are tagged already would be untagged by the kernel in other ways.
    .filter((bytes) => bytes.length >= 60 && bytes.length <= 1400 && bytes[12] !== 0x81 && bytes[12] !== 0x88)
    .filter((_, i) => i % 3 === 0)
    .slice(0, 60);
  const frames = [...plain, ...plain.filter((_, i) => i % 2 === 0).map((frame) => tagged(frame, 100))];
  frames.push(...plain.filter((_, i) => i % 5 === 0).map((frame) => tagged(tagged(frame, 200), 100)));
  for (const text of EXPRESSIONS) {
    const source = await open("packet:vb", "in", names.two);
    const { program } = compileFilter(text, { linkType: source.can.linkType, tagsBeside: source.can.live });
    const passed = verdicts(frames, program);
    const matching = frames.filter((_, i) => passed[i]);
    assert.ok(matching.length > 0 && matching.length < frames.length, `${text} matches some`);
    assert.equal(source.attachFilter?.(program), "socket");
    // The last frame matches, so that whatever came before it has come.
    await send(sink, [...frames, matching[0]]);
    const got = await receive(source, matching.length + 1);
    const received = got.map(({ bytes }) => Buffer.from(bytes).toString("hex"));
    const expected = [...matching, matching[0]].map((frame) => Buffer.from(frame).toString("hex"));
    assert.deepEqual(received, expected, text);
    await source.close();
  }
});

test("a filter on an xdp: port redirects exactly what it matches; the rest stays with the kernel", async (t) => {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return;
  for (const name of Object.values(names))
    runIn(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  makeVeth({ namespace: names.one, name: "va", finish: true }, { namespace: names.two, name: "vb" });
  const { open, send, receive, close } = createBench(64 * 2 ** 20);
  t.after(close);
  const sink = await open("packet:va", "out", names.one);
  const frames = [...capturedPackets(4).get("EN10MB")!]
    .map(({ bytes }) => bytes)
    .filter((bytes, i) => i % 3 === 0 && bytes.length >= 60 && bytes.length <= 1400)
    .slice(0, 60);
  const source = await open("xdp:vb", "in", names.two);
  for (const text of [
    "ip",
    "udp or tcp port 80",
    "not vlan and ip6",
    "less 200 and not arp",
    "ether multicast",
  ]) {
    const { program, matches } = compileFilter(text, { linkType: "EN10MB", tagsBeside: true });
    const matching = frames.filter((frame) => matches(frame));
    assert.ok(matching.length > 0 && matching.length < frames.length, `${text} matches some`);
    assert.equal(source.attachFilter?.(program), "xdp");
    await send(sink, [...frames, matching[0]]);
    const got = await receive(source, matching.length + 1);
    const received = got.map(({ bytes }) => Buffer.from(bytes).toString("hex"));
    const expected = [...matching, matching[0]].map((frame) => Buffer.from(frame).toString("hex"));
    assert.deepEqual(received, expected, text);
  }
});
