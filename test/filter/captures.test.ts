// The cases of libpcap's own tests over capture files, on the port that reads them, by the names of this machine's
// files where a case needs some.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { MillraceError } from "../../src/errors.js";
import { open } from "../../src/index.js";
import { linkTypeOf } from "../../src/packet/linktype.js";
import { makeEtc } from "../kit/etc.js";
import { encodePcap } from "../packet/captures.js";
import { DATA } from "./oracle.js";

interface Applied {
  readonly savefile: string;
  readonly expression: string;
  /** How much of each packet the filter keeps; 0: it does not match. */
  readonly results: readonly number[];
}

const CASES: readonly Applied[] = JSON.parse(readFileSync(join(DATA, "filter/apply.json"), "utf8"));
const MAIN = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));
const SUPPORTED: ReadonlySet<number> = new Set([0, 1, 101, 108, 113, 228, 229, 276]);
const NAMED = /libpcap\.test/;

const pathOf = ({ savefile }: Applied) => join(DATA, "filter/pcap", savefile);

/** The packets of a file that its port lets through, as text. */
async function packetsOf(path: string, filter?: string): Promise<string[]> {
  const port = await open(`pcap:${path}`, filter === undefined ? {} : { filter });
  const packets: string[] = [];
  try {
    for await (const burst of port)
      for (const packet of burst) packets.push(Buffer.from(packet.copy()).toString("hex"));
    if (filter !== undefined) {
      const { filteredIn, received, dropped, delivered } = port.stats();
      assert.equal(filteredIn, "wasm");
      assert.equal(delivered.packets, packets.length);
      assert.equal(received.packets, packets.length + (dropped.filter ?? 0));
    }
  } finally {
    await port.close();
  }
  return packets;
}

async function linkTypeIn(path: string): Promise<number | string> {
  const port = await open(`pcap:${path}`);
  try {
    return port.can.linkType;
  } finally {
    await port.close();
  }
}

test("libpcap's captures, read through a filter: what it keeps comes, what it does not is counted", async () => {
  const known = new Set<number | string>([...SUPPORTED].map((number) => linkTypeOf(number)));
  let ran = 0;
  let refused = 0;
  for (const one of CASES) {
    if (NAMED.test(one.expression)) continue;
    const linkType = await linkTypeIn(pathOf(one));
    const what = `${one.savefile}: ${one.expression}`;
    if (!known.has(linkType)) {
      await assert.rejects(
        packetsOf(pathOf(one), one.expression),
        (error: MillraceError) =>
          error.code === "ERR_FILTER" && error.message.includes(`link type ${linkType}`),
        what,
      );
      refused++;
      continue;
    }
    const all = (await packetsOf(pathOf(one))).slice(0, one.results.length);
    const kept = (await packetsOf(pathOf(one), one.expression)).slice(0, all.length);
    const expected = all.filter((_, i) => one.results[i] > 0);
    assert.deepEqual(kept.slice(0, expected.length), expected, what);
    if (all.length === one.results.length) ran++;
  }
  assert.deepEqual({ ran, refused }, { ran: 47, refused: 43 });
});

test("a gateway is found by /etc/ethers and /etc/hosts", (t) => {
  const name = "eth-ipv4-ipv6.host123.libpcap.test";
  const run = makeEtc(t, {
    ethers: `# by hand\nAA:0:4:0:14:e ${name}\n`,
    hosts: `127.0.0.1 localhost\n10.20.30.40 ${name}\n`,
    networks: "",
  });
  if (run === undefined) return;
  const cases = CASES.filter(
    ({ savefile, expression }) => savefile.startsWith("gateway") && NAMED.test(expression),
  );
  assert.equal(cases.length, 3);
  for (const one of cases) {
    const { stdout, stderr } = run(process.execPath, MAIN, "filter", "--read", pathOf(one), one.expression);
    const verdicts = stdout
      .split("\n")
      .filter((line) => line.includes("\t"))
      .map((line) => !line.endsWith("no match"));
    assert.deepEqual(
      verdicts,
      one.results.map((kept) => kept > 0),
      `${one.expression}: ${stderr}`,
    );
  }
});

test("captures of other systems number IPv6 as those do, and say nothing of an interface", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-null-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "null.pcap");
  const packets = [2, 24, 28, 30].map((family) => Buffer.from([family, 0, 0, 0, 0x60, ...Array(39).fill(0)]));
  writeFileSync(path, encodePcap(0, packets));
  assert.deepEqual(
    await packetsOf(path, "ip6"),
    packets.slice(1).map((packet) => packet.toString("hex")),
  );
  for (const asked of ["ifindex 3", "inbound"])
    await assert.rejects(packetsOf(path, asked), { code: "ERR_FILTER" }, asked);
});
