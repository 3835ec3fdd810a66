import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readChannels, readDriver, readFeatures, setFeatures } from "../../src/linux/ethtool.js";
import { xdpFeatures } from "../../src/linux/netdev.js";
import {
  addAddress,
  changeLink,
  createVeth,
  deleteLink,
  findLink,
  linkEvents,
  listAddresses,
  listLinks,
} from "../../src/linux/netlink.js";
import { inNetns } from "../../src/linux/thread.js";
import { ip, makeNamespaces, runIn } from "../kit/netns.js";

test("interfaces made, changed and deleted over netlink are what ip(8) sees", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  inNetns(names.a, () => {
    createVeth({ name: "left" }, { name: "right" }, { queues: 2, mtu: 2000 });
    addAddress("left", "10.1.2.3", 24);
    addAddress("left", "fd00::3", 64);
    changeLink("left", { up: true, mtu: 1900, address: "02:00:00:00:00:07", promiscuous: true });
    changeLink("right", { up: true, name: "renamed" });
  });
  const [shown] = JSON.parse(ip("-n", names.a, "-j", "-d", "address", "show", "left"));
  assert.equal(shown.mtu, 1900);
  assert.equal(shown.address, "02:00:00:00:00:07");
  assert.equal(shown.promiscuity, 1);
  assert.equal(shown.num_rx_queues, 2);
  assert.ok(shown.flags.includes("UP"));
  assert.deepEqual(
    shown.addr_info
      .filter((entry: { scope: string }) => entry.scope === "global")
      .map((entry: { local: string; prefixlen: number }) => `${entry.local}/${entry.prefixlen}`),
    ["10.1.2.3/24", "fd00::3/64"],
  );

  const ours = inNetns(names.a, listLinks);
  assert.deepEqual(
    ours.map((link) => link.name),
    JSON.parse(ip("-n", names.a, "-j", "link")).map((link: { ifname: string }) => link.ifname),
  );
  const left = inNetns(names.a, () => findLink("left"));
  assert.equal(left.kind, "veth");
  assert.equal(left.mtu, 1900);
  assert.equal(left.promiscuous, true);
  assert.deepEqual(left.queues, { rx: 2, tx: 2 });
  assert.equal(left.link, inNetns(names.a, () => findLink("renamed")).index);
  const addresses = inNetns(names.a, listAddresses).filter(({ index }) => index === left.index);
  assert.ok(addresses.some(({ address, prefix }) => address === "fd00::3" && prefix === 64));

  inNetns(names.a, () => deleteLink("left"));
  assert.throws(() => inNetns(names.a, () => findLink("left")), { code: "ENODEV", message: /"left"/ });
});

test("an interface that comes, changes and goes is told", async (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  const events = inNetns(names.a, linkEvents);
  t.after(() => events.close());
  ip("-n", names.a, "link", "add", "x0", "type", "veth");
  ip("-n", names.a, "link", "set", "x0", "up");
  ip("-n", names.a, "link", "del", "x0");
  const seen: string[] = [];
  while (!seen.includes("gone"))
    for (const { what, link } of await events.next(AbortSignal.timeout(10_000)))
      if (link.name === "x0") seen.push(what === "gone" ? what : link.up ? "up" : "down");
  assert.equal(seen[0], "down");
  assert.ok(seen.includes("up"));
});

test("driver, channels and features are what ethtool(8) shows", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  ip("-n", names.a, "link", "add", "e0", "numrxqueues", "2", "numtxqueues", "2", "type", "veth");
  const tool = (...args: string[]) => runIn(names.a, "ethtool", ...args);
  assert.equal(inNetns(names.a, () => readDriver("e0")).name, "veth");
  assert.equal(inNetns(names.a, () => readChannels("e0"))?.most.rx, 2);
  const shown = tool("-k", "e0");
  const features = inNetns(names.a, () => readFeatures("e0"));
  for (const [, name, state, fixed] of shown.matchAll(/^\s*([\w-]+): (on|off)( \[fixed\])?$/gm)) {
    const feature = features.get(name);
    if (feature === undefined) continue; // ethtool's own names for several features at once
    assert.equal(feature.on, state === "on", name);
    if (fixed !== undefined) assert.equal(feature.switchable, false, name);
  }
  assert.ok(features.has("tx-checksum-ip-generic"));
  inNetns(names.a, () => setFeatures("e0", { "tx-checksum-ip-generic": false }));
  assert.match(tool("-k", "e0"), /tx-checksum-ip-generic: off/);
  assert.throws(() => inNetns(names.a, () => setFeatures("e0", { "no-such-feature": true })), {
    message: /no-such-feature/,
  });
});

test("what the driver can do with XDP is asked of the kernel", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  ip("-n", names.a, "link", "add", "e0", "type", "veth");
  const version = readFileSync("/proc/sys/kernel/osrelease", "utf8").split(".").map(Number);
  const features = inNetns(names.a, () => xdpFeatures(findLink("e0").index));
  if (version[0] < 6 || (version[0] === 6 && version[1] < 3)) assert.equal(features, undefined);
  else assert.equal(features?.zeroCopy, false, "veth copies");
});
