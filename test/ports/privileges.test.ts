// What a port needs, what it says when it lacks it, and what it leaves behind.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { heldCapabilities } from "../../src/linux/capabilities.js";
import { ip, makeNamespaces, runIn } from "../kit/netns.js";
import { until } from "../kit/until.js";

const driver = new URL("../kit/driver.js", import.meta.url).href;
const capabilities = new URL("../../src/linux/capabilities.js", import.meta.url).href;

/** Opens a port in a thread without any capability; what it says. */
async function openWithout(locator: string): Promise<{ code?: string; hint?: string; why?: string }> {
  const source = `
    import { parentPort } from "node:worker_threads";
    import { createBench } from ${JSON.stringify(driver)};
    import { dropCapabilities } from ${JSON.stringify(capabilities)};
    const bench = createBench();
    dropCapabilities();
    const told = await bench.open(${JSON.stringify(locator)}).then(
      ({ can }) => ({ why: can.why }),
      ({ code, hint }) => ({ code, hint }),
    );
    await bench.close();
    parentPort.postMessage(told);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  const [told] = await once(worker, "message");
  return told;
}

test("without its capability each port names it", async (t) => {
  if (heldCapabilities().size === 0) return t.skip("needs capabilities to give up");
  const packet = await openWithout("packet:lo");
  assert.equal(packet.code, "EPERM");
  assert.match(packet.hint ?? "", /CAP_NET_RAW/);
  const tap = await openWithout("tap:mrnone0");
  assert.equal(tap.code, "EPERM");
  assert.match(tap.hint ?? "", /CAP_NET_ADMIN/);
});

test("a receive buffer that the system does not grant is told, with the mend", async (t) => {
  if (heldCapabilities().size === 0) return t.skip("needs capabilities to give up");
  const { why } = await openWithout("udp://127.0.0.1:0?rcvbuf=1000000000");
  assert.match(
    why ?? "",
    /receive buffer has \d+ bytes instead of 1000000000: .*net\.core\.rmem_max=1000000000/,
  );
});

test("a process that is killed leaves no promiscuous interface and no TAP behind", async (t) => {
  const names = makeNamespaces(t, "one");
  if (names === undefined) return;
  ip("-n", names.one, "link", "add", "d0", "type", "veth", "peer", "name", "d1");
  ip("-n", names.one, "link", "set", "d0", "up");
  const source = `
    import { createBench } from ${JSON.stringify(driver)};
    const bench = createBench();
    await bench.open("packet:d0");
    await bench.open("tap:mr0");
    console.log("open");
    setInterval(() => {}, 1000);`;
  const child = spawn(
    "ip",
    ["netns", "exec", names.one, process.execPath, "--input-type=module", "-e", source],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  const links = () => JSON.parse(runIn(names.one, "ip", "-d", "-j", "link", "show"));
  const promiscuity = () => links().find(({ ifname }: { ifname: string }) => ifname === "d0").promiscuity;
  assert.equal(promiscuity(), 1);
  assert.ok(links().some(({ ifname }: { ifname: string }) => ifname === "mr0"));
  child.kill("SIGKILL");
  await once(child, "exit");
  await until("the promiscuous mode is gone", () => promiscuity() === 0);
  assert.ok(!links().some(({ ifname }: { ifname: string }) => ifname === "mr0"));
});
