// A network namespace of the host for the card that is cabled to a tap: only a tap takes several queues and
// packets with checksums and segments left to be done. A bridge and a pair of veth follow; the kernel finishes
// what was left as packets leave for the pair, and tcpdump sees them at its far end.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "../setup.mjs";
import { TAP_MAC as CARD_MAC } from "./machine.mjs";

const ADDRESS = "10.9.3.1/24";
const CARD_ADDRESS = "10.9.3.2";

/** Sets the namespace up. Gives the words before QEMU's command line, or the reason why there is none. */
export async function makeNetwork(out) {
  if (process.getuid() !== 0) return { reason: "a tap takes root" };
  if (!existsSync("/dev/net/tun")) return { reason: "there is no /dev/net/tun" };
  const netns = `mrvm${process.pid}`;
  const children = [];
  const close = async () => {
    for (const child of children) await end(child);
    spawnSync("ip", ["netns", "del", netns]);
  };
  const commands = [
    `ip netns add ${netns}`,
    `ip -n ${netns} tuntap add dev tap0 mode tap multi_queue vnet_hdr`,
    `ip -n ${netns} link add name bridge0 type bridge`,
    `ip -n ${netns} link add near type veth peer name far`,
    `ip netns exec ${netns} sysctl -q -w net.ipv6.conf.all.disable_ipv6=1`,
    `ip netns exec ${netns} ethtool -K near tx off tso off gso off`,
    `ip -n ${netns} link set tap0 master bridge0`,
    `ip -n ${netns} link set near master bridge0`,
    `ip -n ${netns} addr add ${ADDRESS} dev bridge0`,
    // The card answers no questions, and the kernel forgets a neighbour that does not answer.
    `ip -n ${netns} neigh add ${CARD_ADDRESS} lladdr ${CARD_MAC} nud permanent dev bridge0`,
    ...["tap0", "near", "far", "bridge0"].map((name) => `ip -n ${netns} link set ${name} up`),
  ];
  for (const command of commands) {
    const [program, ...args] = command.split(" ");
    const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
    if (status === 0) continue;
    await close();
    return { reason: `${command}: ${String(error?.message ?? stderr).trim()}` };
  }
  const prefix = ["ip", "netns", "exec", netns];
  const start = async (...command) => {
    const child = spawn(prefix[0], [...prefix.slice(1), ...command], { stdio: ["ignore", "pipe", "pipe"] });
    children.push(child);
    await saysSomething(child);
  };
  try {
    // It says where it listens once it does.
    await start("tcpdump", "-i", "far", "-U", "-Z", "root", "-w", join(out, "tap.pcap"));
    await start(process.execPath, join(root, "scripts/vm/echo.mjs"));
  } catch (error) {
    await close();
    return { reason: error.message };
  }
  return { prefix, close };
}

/** Resolves at a program's first words. */
async function saysSomething(child) {
  await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (status) => reject(new Error(`${child.spawnargs.join(" ")} ended with ${status}`)));
    for (const stream of [child.stdout, child.stderr]) stream.on("data", resolve);
  });
}

/** Ends a program; what it has written is in its file then. */
async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, "exit");
  child.kill();
  await ended;
}
