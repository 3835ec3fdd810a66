// Run by libpcap.test.ts where /etc has the names of libpcap's expressions: each against tcpdump, which looks them up there too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { FilterLinkType } from "../../src/filter/state.js";
import { classified, interpreted, loadBurst } from "./backends.js";
import { tryCompile } from "./differential.js";
import { capturedPackets, DATA, tcpdumpProgram } from "./oracle.js";

const SETS: readonly { readonly dlt: FilterLinkType; readonly expressions: readonly string[] }[] = JSON.parse(
  readFileSync(join(DATA, "filter/expressions.json"), "utf8"),
);
/** glibc gives libpcap the numbers of networks with zeros behind them, which libpcap takes for single addresses. */
const NETWORKS: Readonly<Record<string, string>> = {
  "net-10-0-0-0.libpcap.test": "10",
  "net-10-20-0-0.libpcap.test": "192.168",
  "net-10-20-30-0.libpcap.test": "192.168.1",
};
/** This libpcap refuses the names of hosts that have IPv6 addresses too after rarp. */
const RARP_HOST = "192.168.1.249";

function spelled(text: string): string {
  if (text.startsWith("rarp")) return text.replace(/\S+libpcap\.test/i, RARP_HOST);
  return text.replace(/net-\S+/i, (name) => NETWORKS[name.toLowerCase()]);
}

const packets = capturedPackets(10);
const bursts = new Map([...packets].map(([name, list]) => [name, loadBurst(list)]));
const counts = { compared: 0, matching: 0, alike: 0 };
for (const { dlt, expressions } of SETS) {
  const named = expressions.filter((text) => /libpcap\.test/i.test(text));
  const list = packets.get(dlt)!;
  const meanings = named.map((text) => {
    const ours = tryCompile(text, dlt);
    if (ours instanceof Error) throw ours;
    const verdicts = interpreted(ours, list);
    assert.deepEqual(classified(bursts.get(dlt)!, ours), verdicts, `${dlt} ${text}, WebAssembly`);
    // This libpcap has no gateway.
    const theirs = text.includes("gateway") ? undefined : tcpdumpProgram(dlt, spelled(text));
    if (theirs === undefined) assert.ok(text.includes("gateway"), `tcpdump refuses ${dlt} ${text}`);
    else {
      assert.deepEqual(verdicts, interpreted(theirs, list), `${dlt} ${text}`);
      counts.compared++;
    }
    if (verdicts.includes(true)) counts.matching++;
    return verdicts;
  });
  for (const verdicts of meanings.slice(1)) {
    assert.deepEqual(verdicts, meanings[0], named.join(" | "));
    counts.alike++;
  }
}
process.stdout.write(JSON.stringify(counts));
