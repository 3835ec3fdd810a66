import assert from "node:assert/strict";
import { test } from "node:test";
import { createBench, pattern } from "../kit/driver.js";
import { makeNamespaces, makeVeth, outputOf, runIn, startIn } from "../kit/netns.js";

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

// Another program's sender: 20 numbered datagrams to a group, with node:dgram.
const SENDER = `
  const [group, port, from, index] = process.argv.slice(1);
  const six = group.includes(":");
  const socket = require("node:dgram").createSocket(six ? "udp6" : "udp4");
  socket.bind(0, from, async () => {
    socket.setMulticastInterface(six ? "::%va" : from);
    for (let i = 0; i < 20; i++)
      await new Promise((resolve) => socket.send(Buffer.from([Number(index), i]), Number(port), group, resolve));
    socket.close();
  });`;

test("the kernel lists the memberships asked for, and passes on what another program sends from that source", async (t) => {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return;
  makeVeth(
    {
      ...{ namespace: names.one, name: "va" },
      addresses: ["10.9.3.1/24", "10.9.3.3/24", "fd09:3::1/64", "fd09:3::3/64"],
    },
    { namespace: names.two, name: "vb", addresses: ["10.9.3.2/24", "fd09:3::2/64"] },
  );
  const { open, receive, close } = createBench(64 * 2 ** 20);
  t.after(close);
  const listed = (file: string) => runIn(names.two, "cat", `/proc/net/${file}`).toLowerCase();
  const cases = [
    {
      ...{ group: "239.9.3.7", literal: "239.9.3.7", sources: ["10.9.3.1", "10.9.3.3"] },
      // /proc/net/igmp prints the group as a little-endian word, mcfilter as an address.
      ...{
        joined: { file: "igmp", line: /\b070309ef\b/ },
        filter: { file: "mcfilter", line: /\bvb\s+0xef090307\s+0x0a090301\s+1\s+0/ },
      },
    },
    {
      ...{ group: "ff15::937", literal: "[ff15::937]", sources: ["fd09:3::1", "fd09:3::3"] },
      joined: { file: "igmp6", line: /\bvb\s+ff150{25}937\b/ },
      filter: { file: "mcfilter6", line: /\bvb\s+ff150{25}937\s+fd0900030{23}1\s+1\s+0/ },
    },
  ] as const;
  for (const { group, literal, sources, joined, filter } of cases) {
    const [all, one] = ["5005", "5006"];
    assert.doesNotMatch(listed(joined.file), joined.line);
    const any = await open(`udp://${literal}:${all}?iface=vb`, "in", names.two);
    assert.match(listed(joined.file), joined.line);
    assert.doesNotMatch(listed(filter.file), filter.line);
    const mine = await open(`udp://${literal}:${one}?iface=vb&source=${sources[0]}`, "in", names.two);
    assert.match(listed(filter.file), filter.line);
    for (const port of [all, one])
      for (const [index, from] of sources.entries())
        await outputOf(startIn(t, names.one, process.execPath, "-e", SENDER, group, port, from, `${index}`));
    const both = await receive(any, 40);
    assert.equal(both.length, 40);
    const got = await receive(mine, 20);
    assert.deepEqual(
      got.map(({ bytes }) => [...bytes]),
      Array.from({ length: 20 }, (_, i) => [0, i]),
    );
    assert.equal((await receive(mine, 1, { quiet: 200 })).length, 0);
    for (const port of [any, mine]) await port.close();
    assert.doesNotMatch(listed(joined.file), joined.line);
  }
});

test("rcvbuf= and iface= are what ss says of the socket, ttl= what arrives with the datagrams", async (t) => {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return;
  makeVeth(
    { namespace: names.one, name: "va", addresses: ["10.9.4.1/24", "fd09:4::1/64"] },
    { namespace: names.two, name: "vb", addresses: ["10.9.4.2/24", "fd09:4::2/64"] },
  );
  const { open, send, close } = createBench(64 * 2 ** 20);
  t.after(close);
  for (const [host, word] of [
    ["10.9.4.2", "ttl"],
    ["[fd09:4::2]", "hlim"],
  ]) {
    const plain = await open(`udp://${host}:5007`, "in", names.two);
    const bound = await open(`udp://${host}:5008?iface=vb&rcvbuf=1000000`, "in", names.two);
    const sockets = runIn(names.two, "ss", "-uanmH");
    const [first, second] = [5007, 5008].map((port) => {
      const lines = sockets.slice(sockets.indexOf(`:${port} `)).split("\n");
      const address =
        sockets
          .slice(0, sockets.indexOf(`:${port} `))
          .split(/\s/)
          .pop() ?? "";
      return { address, memory: /rb(\d+)/.exec(lines.slice(0, 2).join(" "))?.[1] };
    });
    // The kernel doubles what it is asked for, for its own overhead (socket(7)).
    assert.deepEqual(first, { address: host, memory: `${2 * 32 * 2 ** 20}` });
    assert.equal(second.memory, "2000000");
    assert.match(second.address, /%vb$/);
    const dump = startIn(
      ...[t, names.two, "tcpdump", "-i", "vb", "-n", "-v", "-l", "--immediate-mode", "-c", "1"],
      "udp and dst port 5007",
    );
    const printed = outputOf(dump);
    await new Promise((resolve) => dump.stderr?.once("data", resolve));
    const sink = await open(`udp://${host}:5007?ttl=7`, "out", names.one);
    await send(sink, [pattern(100)]);
    assert.match(await printed, new RegExp(`\\b${word} 7\\b`));
    for (const port of [plain, bound, sink]) await port.close();
  }
});
