import { accessSync, constants, existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import type { MillraceError } from "../errors.js";
import { heldCapabilities } from "../linux/capabilities.js";
import { libc } from "../linux/libc.js";
import { lockedMemoryLimit } from "../linux/memlock.js";
import { AF_PACKET, openSocket, SOCK_RAW } from "../linux/socket.js";
import { openXdpSocket } from "../linux/xdp-socket.js";
import { DEFAULT_FRAME_BYTES } from "../memory/arena.js";
import { type InterfaceInfo, listInterfaces } from "../ports/interfaces.js";

/** One finding: `no`: it does not work; `limited`: it works, not at its best. */
export interface Finding {
  readonly about: string;
  readonly state: "ok" | "limited" | "no";
  readonly what: string;
  /** The command, or the step, that mends it. */
  readonly mend?: string;
}

const ok = (about: string, what: string): Finding => ({ about, state: "ok", what });
const limited = (about: string, what: string, mend: string): Finding => ({
  about,
  state: "limited",
  what,
  mend,
});
const no = (about: string, what: string, mend: string): Finding => ({ about, state: "no", what, mend });

const WANTED_BUFFER = 32 * 2 ** 20;

/** Looks at this machine as this user; changes nothing. */
export function findAll(): Finding[] {
  const findings = [node()];
  try {
    libc();
  } catch (error) {
    const { message, hint = "" } = error as MillraceError;
    return [...findings, no("system calls", message, hint)];
  }
  findings.push(ok("system calls", "koffi and libc are there"));
  const capabilities = heldCapabilities();
  findings.push(...privileges(capabilities), memlock(capabilities.has("CAP_IPC_LOCK")));
  findings.push(sockets(capabilities.has("CAP_NET_ADMIN")), jit(), tun(), ...vfio());
  for (const one of listInterfaces()) if (!one.link.loopback) findings.push(...interfaceFindings(one));
  return findings;
}

function node(): Finding {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const enough = major > 20 || (major === 20 && minor >= 19);
  return enough
    ? ok("Node", process.version)
    : no("Node", `${process.version} is older than 20.19`, "install Node 20.19 or newer");
}

function grant(...capabilities: readonly string[]): string {
  const names = capabilities.map((name) => name.toLowerCase()).join(",");
  return `sudo setcap ${names}+ep ${realpathSync(process.execPath)} (for every program that this Node runs), or run with sudo`;
}

function privileges(held: ReadonlySet<string>): Finding[] {
  const findings: Finding[] = [];
  const check = (about: string, wanted: readonly string[], open: () => number) => {
    const missing = wanted.filter((name) => !held.has(name));
    try {
      libc().close(open());
    } catch (error) {
      const { code, message } = error as MillraceError;
      if (code === "EAFNOSUPPORT") {
        const option = about === "xdp:" ? "CONFIG_XDP_SOCKETS" : "CONFIG_PACKET";
        findings.push(
          no(about, "this kernel does not have the socket family", `boot a kernel with ${option}=y`),
        );
        return;
      }
      if (missing.length === 0) {
        findings.push(no(about, message, "see the message"));
        return;
      }
    }
    findings.push(
      missing.length === 0
        ? ok(about, `${wanted.join(", ")} held`)
        : no(about, `${missing.join(", ")} missing`, grant(...wanted)),
    );
  };
  check("packet:", ["CAP_NET_RAW"], () => openSocket(AF_PACKET, SOCK_RAW, 0, "packet:"));
  check("xdp:", ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF"], () => openXdpSocket("xdp:"));
  return findings;
}

function memlock(ipcLock: boolean): Finding {
  const about = "locked memory";
  if (ipcLock) return ok(about, "CAP_IPC_LOCK held: no limit");
  const limit = lockedMemoryLimit();
  const wanted = `each thread with an xdp: port pins its arena's frames, ${DEFAULT_FRAME_BYTES} bytes by default`;
  const threads = Math.floor(limit / DEFAULT_FRAME_BYTES);
  if (limit === Number.POSITIVE_INFINITY) return ok(about, "unlimited");
  if (threads > 0) return ok(about, `RLIMIT_MEMLOCK is ${limit} bytes: ${wanted}, so ${threads} can`);
  return limited(
    about,
    `RLIMIT_MEMLOCK is ${limit} bytes: ${wanted}`,
    "sudo prlimit --memlock=unlimited --pid $$ (this shell), or give cap_ipc_lock beside the others",
  );
}

function sockets(netAdmin: boolean): Finding {
  const about = "socket buffers";
  const most = Number(readFileSync("/proc/sys/net/core/rmem_max", "utf8"));
  if (netAdmin) return ok(about, "CAP_NET_ADMIN held: net.core.rmem_max does not bind");
  if (most >= WANTED_BUFFER) return ok(about, `net.core.rmem_max is ${most}`);
  return limited(
    about,
    `net.core.rmem_max is ${most}: udp: asks for ${WANTED_BUFFER} bytes and gets less, and bursts are lost`,
    `sudo sysctl -w net.core.rmem_max=${WANTED_BUFFER}`,
  );
}

function jit(): Finding {
  const about = "BPF compiler";
  let enabled = "1";
  try {
    enabled = readFileSync("/proc/sys/net/core/bpf_jit_enable", "utf8").trim();
  } catch {
    return ok(about, "its setting can be read by root alone; nearly every kernel has it on");
  }
  return enabled === "0"
    ? limited(about, "it is off: filters in the kernel are slow", "sudo sysctl -w net.core.bpf_jit_enable=1")
    : ok(about, "on");
}

function tun(): Finding {
  const path = "/dev/net/tun";
  if (!existsSync(path)) return no("tap:", `${path} does not exist`, "sudo modprobe tun");
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch {
    return no("tap:", `${path} cannot be opened by this user`, `sudo chmod 666 ${path}, or run with sudo`);
  }
  return heldCapabilities().has("CAP_NET_ADMIN")
    ? ok("tap:", `${path} is there, CAP_NET_ADMIN held`)
    : limited(
        "tap:",
        "without CAP_NET_ADMIN only devices made for this user can be attached",
        "sudo ip tuntap add dev mr0 mode tap user $USER",
      );
}

function vfio(): Finding[] {
  const about = "nic: (VFIO)";
  const groups = existsSync("/sys/kernel/iommu_groups") ? readdirSync("/sys/kernel/iommu_groups").length : 0;
  if (groups === 0)
    return [
      no(
        about,
        "no IOMMU group: cards cannot be driven from here (models can)",
        "boot with intel_iommu=on or amd_iommu=on on a machine that has an IOMMU",
      ),
    ];
  return existsSync("/dev/vfio/vfio")
    ? [ok(about, `${groups} IOMMU groups, /dev/vfio/vfio is there`)]
    : [no(about, `${groups} IOMMU groups, but /dev/vfio/vfio is missing`, "sudo modprobe vfio-pci")];
}

function interfaceFindings(one: InterfaceInfo): Finding[] {
  const { link, xdp, numa } = one;
  const about = link.name;
  const findings: Finding[] = [];
  if (!link.up)
    findings.push(
      limited(
        about,
        "it is down: xdp: cannot be opened, packet: waits until it is up",
        `sudo ip link set dev ${link.name} up`,
      ),
    );
  if (link.xdp !== undefined)
    findings.push(
      no(
        about,
        `XDP program ${link.xdp.program} is attached (${link.xdp.mode}): xdp:${link.name} cannot attach another`,
        `end the process that attached it (bpftool net), or: sudo ip link set dev ${link.name} xdp off`,
      ),
    );
  if (link.kind === "veth")
    findings.push(
      limited(
        about,
        "a sender on this host leaves checksums and segments to be finished, and xdp: cannot tell",
        `on the other end of ${link.name}: sudo ethtool -K PEER tx off gro off`,
      ),
    );
  else if (xdp?.native && one.hostForbidsNative)
    findings.push(
      limited(
        about,
        "its host leaves checksums and segments unfinished and cannot be told not to, so the driver refuses native XDP: xdp: works in generic mode",
        "on the host: -device virtio-net-pci,ctrl_guest_offloads=on (QEMU), or guest_csum=off with the other guest_* offloads; else use packet:",
      ),
    );
  else if (xdp !== undefined && !xdp.native)
    findings.push(
      limited(
        about,
        `${one.driver || "the driver"} has no native XDP: xdp: works in generic mode`,
        "use packet:",
      ),
    );
  if (one.offloads.includes("LRO"))
    findings.push(
      limited(about, "LRO merges packets before a port sees them", `sudo ethtool -K ${link.name} lro off`),
    );
  const away = numa === undefined ? [] : cpusOffNode(numa);
  if (away.length > 0)
    findings.push(
      limited(
        about,
        `the card is on NUMA node ${numa}, and this process may run on CPUs of other nodes (${away.join(", ")})`,
        `numactl --cpunodebind=${numa} --membind=${numa} millrace …`,
      ),
    );
  if (findings.length === 0) findings.push(ok(about, "nothing stands in the way"));
  return findings;
}

/** CPUs this process may use that do not belong to the node. */
function cpusOffNode(node: number): number[] {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  const path = `/sys/devices/system/node/node${node}/cpulist`;
  if (!existsSync(path)) return [];
  const near = new Set(cpuList(readFileSync(path, "utf8")));
  return cpuList(allowed).filter((cpu) => !near.has(cpu));
}

/** The numbers of `0-3,8`. */
function cpuList(text: string): number[] {
  return text
    .trim()
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}
