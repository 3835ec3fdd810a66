import assert from "node:assert/strict";
import { test } from "node:test";
import { createBench, pattern } from "../kit/driver.js";
import { makeNamespaces, makeVeth } from "../kit/netns.js";

test("a group is joined on its interface, from one source only where asked, with the given hops", async (t) => {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return;
  makeVeth(
    { namespace: names.one, name: "va", addresses: ["10.9.2.1/24", "fd09:2::1/64"] },
    { namespace: names.two, name: "vb", addresses: ["10.9.2.2/24", "fd09:2::2/64"] },
  );
  const { open, send, receive, close } = createBench(64 * 2 ** 20);
  t.after(close);
  const groups = [
    { group: "239.9.2.7", from: "10.9.2.1", stranger: "10.9.2.77", hops: 14 + 8 },
    { group: "[ff15::927]", from: "fd09:2::1", stranger: "fd09:2::77", hops: 14 + 7 },
  ];
  for (const { group, from, stranger, hops } of groups) {
    const to = `udp://${group}:5004`;
    const any = await open(`${to}?iface=vb`, "in", names.two);
    const mine = await open(`${to}?iface=vb&source=${from}`, "in", names.two);
    const other = await open(`${to}?iface=vb&source=${stranger}`, "in", names.two);
    const wire = await open("packet:vb", "in", names.two);
    const sink = await open(`${to}?iface=va&ttl=9`, "out", names.one);
    const sent = Array.from({ length: 20 }, (_, index) => pattern(1200, index));
    await send(sink, sent);
    for (const port of [any, mine]) {
      const got = await receive(port, 20);
      assert.deepEqual(
        got.map(({ bytes }) => new Uint8Array(bytes)),
        sent,
      );
      const { host } = new URL(`udp://${port.peer?.(1)}`);
      assert.ok(host.includes(from), `${host} is not ${from}`);
    }
    assert.equal((await receive(other, 1, { quiet: 100 })).length, 0);
    const frames = (await receive(wire, 100, { quiet: 200 })).filter(({ bytes }) => bytes.length > 1200);
    assert.ok(frames.length > 0);
    for (const { bytes } of frames) assert.equal(bytes[hops], 9);
    for (const port of [any, mine, other, wire, sink]) await port.close();
  }
});
