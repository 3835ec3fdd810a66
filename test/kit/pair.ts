// Two namespaces on a quiet veth pair, and frames that nobody's stack answers, for the tests of kernel ports.
import type { TestContext } from "node:test";
import { type Bench, createBench, pattern } from "./driver.js";
import { makeNamespaces, makeVeth, runIn } from "./netns.js";

/** A bench that closes, and looks for lost frames, when the test ends. */
export function bench(t: TestContext, bytes?: number): Bench {
  const made = createBench(bytes);
  t.after(() => made.close());
  return made;
}

/** A frame of `length` bytes that nobody's stack answers: an experimental EtherType, perhaps with a VLAN tag. */
export function frame(length: number, seed = 0, vlan?: number): Uint8Array {
  const bytes = pattern(length, seed);
  bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5].slice(0, length));
  if (vlan !== undefined) bytes.set([0x81, 0, vlan >>> 8, vlan & 255, 0x88, 0xb5], 12);
  return bytes;
}

/** Two namespaces with a quiet veth pair: `va` in one, `vb` in the other. */
export function pair(t: TestContext, mtu = 1500): { one: string; two: string } | undefined {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return undefined;
  for (const name of [names.one, names.two])
    runIn(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  makeVeth({ namespace: names.one, name: "va" }, { namespace: names.two, name: "vb" }, { mtu });
  return names;
}
