// A network namespace of the host for the card that is cabled to a tap: only a tap takes several queues and
// packets with checksums and segments left to be done. A bridge and a pair of veth follow; the kernel finishes
// what was left as packets leave for the pair, and tcpdump sees them at its far end.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "../setup.mjs";

const ADDRESS = "10.9.3.1/24";

/** Sets the namespace up. Gives the words before QEMU's command line, or the reason why there is none. */
export function makeNetwork(out) {
  if (process.getuid() !== 0) return { reason: "a tap takes root" };
  if (!existsSync("/dev/net/tun")) return { reason: "there is no /dev/net/tun" };
  const netns = `mrvm${process.pid}`;
  const children = [];
  const close = () => {
    for (const child of children) child.kill();
    spawnSync("ip", ["netns", "del", netns]);
  };
  const fail = (command, stderr) => {
    close();
    return { reason: `${command}: ${String(stderr).trim()}` };
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
    ...["tap0", "near", "far", "bridge0"].map((name) => `ip -n ${netns} link set ${name} up`),
  ];
  for (const command of commands) {
    const [program, ...args] = command.split(" ");
    const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
    if (status !== 0) return fail(command, error?.message ?? stderr);
  }
  const prefix = ["ip", "netns", "exec", netns];
  const start = (...command) =>
    children.push(spawn(prefix[0], [...prefix.slice(1), ...command], { stdio: "ignore" }));
  start("tcpdump", "-i", "far", "-U", "-w", join(out, "tap.pcap"));
  start(process.execPath, join(root, "scripts/vm/echo.mjs"));
  return { prefix, close };
}
