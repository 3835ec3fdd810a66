// The cases of libpcap's own tests over capture files, on the port that reads them, by the names of this machine's
// files where a case needs some.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { MillraceError } from "../../src/errors.js";
import { open } from "../../src/index.js";
import { linkTypeOf } from "../../src/packet/linktype.js";
import { DATA } from "./oracle.js";

interface Applied {
  readonly savefile: string;
  readonly expression: string;
  /** How much of each packet the filter keeps; 0: it does not match. */
  readonly results: readonly number[];
}

const CASES: readonly Applied[] = JSON.parse(readFileSync(join(DATA, "filter/apply.json"), "utf8"));
const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
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
  if (spawnSync("unshare", ["-m", "true"]).status !== 0) {
    t.skip("namespaces need CAP_SYS_ADMIN: run as root");
    return;
  }
  const etc = mkdtempSync(join(tmpdir(), "millrace-etc-"));
  t.after(() => rmSync(etc, { recursive: true, force: true }));
  // All that a program needs of /etc to start, and to look a name up.
  for (const file of ["ld.so.cache", "passwd", "group"].filter((file) => existsSync(join("/etc", file))))
    copyFileSync(join("/etc", file), join(etc, file));
  writeFileSync(join(etc, "nsswitch.conf"), "hosts: files\n");
  const name = "eth-ipv4-ipv6.host123.libpcap.test";
  writeFileSync(join(etc, "ethers"), `# by hand\nAA:0:4:0:14:e ${name}\n`);
  writeFileSync(join(etc, "hosts"), `127.0.0.1 localhost\n10.20.30.40 ${name}\n`);
  const cases = CASES.filter(
    ({ savefile, expression }) => savefile.startsWith("gateway") && NAMED.test(expression),
  );
  assert.equal(cases.length, 3);
  for (const one of cases) {
    const script = 'mount --bind "$1" /etc && shift && exec "$@"';
    const command = [process.execPath, MAIN, "filter", "--read", pathOf(one), one.expression];
    const { stdout, stderr } = spawnSync("unshare", ["-m", "sh", "-c", script, "sh", etc, ...command], {
      encoding: "utf8",
    });
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
