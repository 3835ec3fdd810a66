import type { Command } from "commander";
import { type InterfaceInfo, listInterfaces, queuesOf } from "../ports/interfaces.js";
import { PORT_KINDS, type PortKind } from "../ports/registry.js";
import { print, printJson } from "./output.js";

/** A line on each kind of port, with a locator to start from; `file:` is one for chunks alone. */
const KINDS: Readonly<Record<PortKind | "file", readonly [example: string, what: string]>> = {
  pcap: ["in.pcapng", "capture files, read and written; no privilege"],
  file: ["file:out.raw", "plain bytes, a source or sink of chunks"],
  loop: ["loop:a", "two ends in one program, with loss and delay on request"],
  null: ["null:?size=64", "packets without end, and a place to throw them: what the engine itself costs"],
  udp: ["udp://239.1.1.1:5004", "UDP sockets with GRO, GSO and timestamps; no privilege"],
  packet: ["packet:eth0", "AF_PACKET rings; CAP_NET_RAW"],
  xdp: ["xdp:eth0", "AF_XDP sockets; CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF"],
  tap: ["tap:mr0", "TUN/TAP devices; CAP_NET_ADMIN"],
  nic: ["nic:e1000e@model", "cards driven from user space: a PCI address over VFIO, or a model"],
};

export function addPortsCommand(program: Command): void {
  program
    .command("ports")
    .description("list the kinds of port and the network interfaces with what they offer")
    .option("--all", "also loopback and interfaces that are down")
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExample:\n  millrace ports --all")
    .action(ports);
}

async function ports(options: { readonly all?: boolean; readonly json?: boolean }): Promise<void> {
  const interfaces = listInterfaces().filter(({ link }) => options.all || (link.up && !link.loopback));
  if (options.json) return printJson({ kinds: Object.keys(PORT_KINDS), interfaces: interfaces.map(toJson) });
  const lines = Object.entries(KINDS).map(
    ([kind, [example, what]]) => `${kind.padEnd(8)}${example.padEnd(24)}${what}`,
  );
  lines.push("");
  if (interfaces.length === 0) lines.push("no interface is up (--all shows those that are down)");
  for (const one of interfaces) lines.push(...toText(one));
  await print(`${lines.join("\n")}\n`);
}

function toJson(one: InterfaceInfo) {
  const { link, driver, bus, xdp, offloads, numa } = one;
  const { name, index, mtu, up, running, address, kind, promiscuous } = link;
  return {
    ...{ name, index, driver, bus, kind, address, mtu, up, running, promiscuous, numa, offloads },
    queues: { rx: queuesOf(one), most: one.channels?.most },
    xdp: { ...xdp, hostForbidsNative: one.hostForbidsNative, attached: link.xdp },
  };
}

function toText(one: InterfaceInfo): string[] {
  const { link, driver, bus, offloads, numa } = one;
  const state = !link.up ? "down" : link.running ? "up" : "up, no carrier";
  const queues = queuesOf(one);
  return [
    `${link.name}: ${state}, ${driver || "no driver"}${bus ? ` at ${bus}` : ""}, MTU ${link.mtu}, ${queues} ${
      queues === 1 ? "queue" : "queues"
    }${numa === undefined ? "" : `, NUMA node ${numa}`}`,
    `    XDP: ${xdpText(one)}`,
    `    offloads: ${offloads.length === 0 ? "none" : offloads.join(", ")}`,
  ];
}

function xdpText({ xdp, link, hostForbidsNative }: InterfaceInfo): string {
  const modes =
    xdp === undefined
      ? "the kernel does not say (it is older than 6.3)"
      : xdp.native && hostForbidsNative
        ? "generic, copy; not native, which needs a host that lets its guests turn offloads off"
        : xdp.native
          ? `native${xdp.zeroCopy ? ", zero-copy" : ", copy"}${xdp.fragments ? ", multi-buffer" : ""}; generic`
          : "generic, copy";
  return link.xdp === undefined
    ? modes
    : `${modes}; program ${link.xdp.program} is attached (${link.xdp.mode})`;
}
