// How several packet: sockets share an interface: the modes of a fanout group, and memberships in multicast groups.
import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { type TestContext, test } from "node:test";
import { MAIN } from "../kit/lan.js";
import { ip, makeNamespaces, makeVeth, runIn } from "../kit/netns.js";
import { bench } from "../kit/pair.js";

/** Two silent namespaces with a veth of two queues between them, `va` to `vb`. */
function pair(t: TestContext): { readonly one: string; readonly two: string } | undefined {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return undefined;
  for (const name of [names.one, names.two])
    runIn(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  makeVeth({ namespace: names.one, name: "va" }, { namespace: names.two, name: "vb" }, { queues: 2 });
  return names;
}

const FLOWS = 64;
const PACKETS = 640;

/** Sends so many packets of each of 64 flows out of va, under a command that says where. */
function send(namespace: string, ...under: readonly string[]): void {
  const flows = ["--flows", String(FLOWS), "--count", String(PACKETS), "--rate", "20kpps"];
  const [first, ...rest] = [...under, process.execPath, MAIN, "generate", "packet:va", ...flows];
  runIn(namespace, first, ...rest);
}

/** Two ports of one group, and which flows' packets each of them gets of what `send` sends. */
async function group(t: TestContext, namespace: string, mode: string) {
  const { open, receive } = bench(t, 64 * 2 ** 20);
  const locator = `packet:vb?fanout=7&fanout-mode=${mode}`;
  const ports = [await open(locator, "in", namespace), await open(locator, "in", namespace)];
  return async (sending: () => void): Promise<number[][]> => {
    const before = ports.map((port) => port.counters().received.packets);
    sending();
    const flows: number[][] = [];
    for (const port of ports) {
      const got = await receive(port, PACKETS, { quiet: 500 });
      assert.ok(got.every(({ bytes }) => bytes.length === 60));
      flows.push(got.map(({ bytes }) => bytes.readUInt16BE(34)));
    }
    const received = ports.map((port, index) => port.counters().received.packets - before[index]);
    assert.deepEqual(
      received,
      flows.map(({ length }) => length),
    );
    assert.equal(received[0] + received[1], PACKETS);
    return flows;
  };
}

test("fanout-mode=hash keeps each flow at one socket, and both get some", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const share = await group(t, names.two, "hash");
  const [first, second] = (await share(() => send(names.one))).map((ports) => new Set(ports));
  assert.equal(first.size + second.size, FLOWS);
  assert.ok(first.size > 0 && second.size > 0, `${first.size} and ${second.size} flows`);
});

test("fanout-mode=cpu gives a socket what its processor has received", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  if (availableParallelism() < 2) return t.skip("there is one processor only");
  const share = await group(t, names.two, "cpu");
  // On a veth without NAPI the sender's processor receives.
  const counts: number[][] = [];
  for (const cpu of ["0", "1"])
    counts.push((await share(() => send(names.one, "taskset", "-c", cpu))).map(({ length }) => length));
  assert.deepEqual(
    counts.map((pair) => pair.toSorted((a, b) => a - b)),
    [
      [0, PACKETS],
      [0, PACKETS],
    ],
  );
  assert.notDeepEqual(counts[0], counts[1]);
});

test("fanout-mode=queue gives a socket what came on its queue", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const share = await group(t, names.two, "queue");
  const counts: number[][] = [];
  for (const masks of [
    [1, 0],
    [0, 1],
  ]) {
    // Which queues processor 0 sends on; the other end of a veth receives on the same.
    for (const [queue, mask] of masks.entries())
      runIn(names.one, "sh", "-c", `echo ${mask} > /sys/class/net/va/queues/tx-${queue}/xps_cpus`);
    counts.push((await share(() => send(names.one, "taskset", "-c", "0"))).map(({ length }) => length));
  }
  assert.deepEqual(
    counts.map((pair) => pair.toSorted((a, b) => a - b)),
    [
      [0, PACKETS],
      [0, PACKETS],
    ],
  );
  assert.notDeepEqual(counts[0], counts[1]);
});

test("multicast= joins groups on the interface as long as the port is open, without the promiscuous mode", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open } = bench(t);
  const GROUPS = ["01:00:5e:01:02:03", "33:33:00:00:12:34"];
  const joined = () => {
    const [{ maddr }] = JSON.parse(ip("-n", names.two, "-j", "maddress", "show", "dev", "vb"));
    return GROUPS.filter((group) => maddr.some(({ link }: { link?: string }) => link === group));
  };
  const link = () =>
    ip("-n", names.two, "-d", "link", "show", "vb").match(/promiscuity \d+ +allmulti \d+/)?.[0];
  assert.deepEqual(joined(), []);
  const some = await open(`packet:vb?promisc=0&multicast=${GROUPS.join(",")}`, "in", names.two);
  assert.deepEqual(joined(), GROUPS);
  assert.match(link() ?? "", /promiscuity 0 +allmulti 0/);
  await some.close();
  assert.deepEqual(joined(), []);
  const every = await open("packet:vb?promisc=0&multicast=all", "in", names.two);
  assert.match(link() ?? "", /promiscuity 0 +allmulti 1/);
  await every.close();
  assert.match(link() ?? "", /promiscuity 0 +allmulti 0/);
  for (const wrong of ["vb?multicast=02:00:5e:01:02:03", "vb?multicast=224.0.0.1", "any?multicast=all"])
    await assert.rejects(open(`packet:${wrong}`, "in", names.two), { code: "ERR_LOCATOR" });
});
