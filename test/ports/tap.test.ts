import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { PortDriver } from "../../src/ports/port.js";
import { type Bench, createBench, pump } from "../kit/driver.js";
import { ip, makeNamespaces, makeVeth, outputOf, runIn, startIn, startIperf } from "../kit/netns.js";

function bench(t: TestContext, bytes?: number): Bench {
  const made = createBench(bytes);
  t.after(() => made.close());
  return made;
}

/** Two hosts, each with a port to the mill: `open` makes them and says what joins them. */
async function joined(
  t: TestContext,
  names: { readonly left: string; readonly right: string },
  arena: Bench["arena"],
  [one, two]: readonly [PortDriver, PortDriver],
): Promise<void> {
  const end = new AbortController();
  const pumps = [pump(arena, one, two, end.signal), pump(arena, two, one, end.signal)];
  const { left, right } = names;
  assert.match(
    await outputOf(startIn(t, left, "ping", "-c", "5", "-i", "0.02", "10.9.1.2")),
    / 0% packet loss/,
  );
  assert.match(
    await outputOf(startIn(t, left, "ping", "-c", "3", "-i", "0.02", "-s", "9000", "fd09::2")),
    / 0% packet loss/,
  );
  for (const to of ["10.9.1.2", "fd09::2"]) {
    await startIperf(t, right);
    const report = JSON.parse(await outputOf(startIn(t, left, "iperf3", "-J", "-t", "1", "-c", to)));
    t.diagnostic(`${to}: ${(report.end.sum_received.bits_per_second / 1e9).toFixed(2)} Gbit/s`);
    assert.ok(report.end.sum_received.bytes > 1e6);
  }
  const errors = runIn(right, "nstat", "-asz", "TcpInCsumErrors", "UdpInCsumErrors", "Icmp6InCsumErrors");
  assert.doesNotMatch(errors, /CsumErrors\s+[1-9]/);
  end.abort();
  await Promise.all(pumps);
  for (const [from, to] of [
    [one, two],
    [two, one],
  ]) {
    const { dropped, transmitted } = to.counters();
    const lost = dropped.oversize + dropped.refused + dropped.unfinished;
    assert.equal(lost, 0);
    assert.equal(from.counters().received.packets, transmitted.packets);
  }
}

for (const layer of [2, 3])
  test(`two hosts talk over two ${layer === 2 ? "TAP" : "TUN"} interfaces joined in a program`, async (t) => {
    const names = makeNamespaces(t, "left", "right");
    if (names === undefined) return;
    const { arena, open } = bench(t, 64 * 2 ** 20);
    const one = await open(`tap:mr0?layer=${layer}`, "both", names.left);
    const two = await open(`tap:mr0?layer=${layer}`, "both", names.right);
    for (const [name, number] of [
      [names.left, 1],
      [names.right, 2],
    ]) {
      ip("-n", `${name}`, "address", "add", `10.9.1.${number}/24`, "dev", "mr0");
      ip("-n", `${name}`, "address", "add", `fd09::${number}/64`, "dev", "mr0", "nodad");
    }
    await joined(t, names, arena, [one, two]);
  });

test("a TAP interface and a veth are two ends of one wire", async (t) => {
  const names = makeNamespaces(t, "left", "mill", "right");
  if (names === undefined) return;
  makeVeth(
    { namespace: names.right, name: "r0", addresses: ["10.9.1.2/24", "fd09::2/64"] },
    { namespace: names.mill, name: "r1" },
  );
  runIn(names.mill, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/r1/disable_ipv6");
  const { arena, open } = bench(t, 64 * 2 ** 20);
  const one = await open("tap:mr0", "both", names.left);
  ip("-n", names.left, "address", "add", "10.9.1.1/24", "dev", "mr0");
  ip("-n", names.left, "address", "add", "fd09::1/64", "dev", "mr0", "nodad");
  const two = await open("packet:r1", "both", names.mill);
  await joined(t, names, arena, [one, two]);
});

test("what nobody reads from a TAP is the kernel's drop; an interface that is gone ends the port", async (t) => {
  const names = makeNamespaces(t, "left");
  if (names === undefined) return;
  const { open, receive } = bench(t);
  const port = await open("tap:mr7?mtu=1400", "both", names.left);
  runIn(names.left, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/mr7/disable_ipv6");
  await receive(port, 1000, { quiet: 500 });
  const before = port.counters();
  ip("-n", names.left, "address", "add", "10.9.7.1/24", "dev", "mr7");
  ip("-n", names.left, "link", "set", "mr7", "txqueuelen", "10");
  ip("-n", names.left, "neighbour", "add", "10.9.7.2", "lladdr", "02:00:00:00:00:02", "dev", "mr7");
  const [link] = JSON.parse(ip("-n", names.left, "-j", "link", "show", "mr7"));
  assert.equal(link.mtu, 1400);
  const ping = startIn(t, names.left, "ping", "-q", "-c", "100", "-i", "0.002", "-W", "0.1", "10.9.7.2");
  await new Promise((resolve) => ping.once("close", resolve));
  const got = await receive(port, 100, { quiet: 500 });
  const { dropped } = port.counters();
  assert.ok(dropped.kernel > 0);
  assert.equal(got.length + dropped.kernel - before.dropped.kernel, 100);
  const gone = assert.rejects(receive(port, 1), { code: "ENODEV" });
  ip("-n", names.left, "link", "del", "mr7");
  await gone;
});

test("what cannot be opened says why", async (t) => {
  const { open } = bench(t);
  await assert.rejects(open("tap:a-name-of-17-bytes"), { code: "ERR_LOCATOR" });
  await assert.rejects(open("tap:mr0?layer=7"), { code: "ERR_LOCATOR" });
});
