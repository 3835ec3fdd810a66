// npm's packages for live captures, where they build: installed beside the repository's own, never among them.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const VERSIONS = { pcap: "3.1.0", cap: "0.2.1" } as const;
export type NpmCapture = keyof typeof VERSIONS;

/** Programs that capture on `v0`, and say at SIGINT how much, as tcpdump does. */
interface Programs {
  /** Counts packets and bytes. */
  readonly counting: string;
  /** Writes a capture file, in the fastest of the ways that were measured. */
  readonly writing: string;
}

/**
 * `pcap` writes through libpcap, told by an argument of its constructor that createSession() leaves out: that takes
 * 140 ns a packet where copying header and bytes from `packet` events, with loops or with set(), takes 200 to 240.
 * `cap` cannot write: its packets are copied with a loop, faster than any call for short ones. It copies into its
 * buffer for as long as it captures, and takes no hold of it: without one here it is collected, and the heap corrupted.
 * Its ring has slots for the longest packets: in 10 MiB too few to lose none.
 */
const PROGRAMS: Readonly<Record<NpmCapture, (file: string) => Programs>> = {
  pcap: (file) => ({
    counting: `const session = require("pcap").createSession("v0", { buffer_size: 10 << 20 });
const header = new Uint32Array(session.header.buffer, session.header.byteOffset, 4);
session.on("packet", () => { packets++; bytes += header[2]; });
${ends("")}`,
    writing: `const { PcapSession } = require("pcap");
const session = new PcapSession(true, "v0", "", 10 << 20, 65535, ${JSON.stringify(file)}, false, 1000, true);
${ends("const { ps_recv, ps_drop } = session.stats(); packets = ps_recv - ps_drop; dropped = ps_drop;", "session.close();")}`,
  }),
  cap: (file) => ({
    counting: `${OPEN_CAP}
cap.on("packet", (length) => { packets++; bytes += length; });
${ends("")}`,
    writing: `const fs = require("fs");
const fd = fs.openSync(${JSON.stringify(file)}, "w");
fs.writeSync(fd, new Uint32Array([0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1]));
const out = Buffer.alloc(512 << 10);
let at = 0;
const flush = () => { fs.writeSync(fd, out, 0, at); at = 0; };
${OPEN_CAP}
cap.on("packet", (length) => {
  packets++;
  if (at + 16 + length > out.length) flush();
  const now = Date.now();
  out.writeUInt32LE(Math.floor(now / 1000), at);
  out.writeUInt32LE((now % 1000) * 1000, at + 4);
  out.writeUInt32LE(length, at + 8);
  out.writeUInt32LE(length, at + 12);
  at += 16;
  for (let i = 0; i < length; i++) out[at + i] = held[i];
  at += length;
});
${ends("flush();")}`,
  }),
};

const OPEN_CAP = `const held = globalThis.held = Buffer.alloc(65535);
const cap = new (require("cap").Cap)();
cap.open("v0", "", 64 << 20, held);`;

function ends(before: string, last = ""): string {
  return `process.on("SIGINT", () => {
  ${before}
  process.stderr.write(packets + " packets captured\\n" + dropped + " packets dropped by kernel\\n", () => {
    ${last}
    process.exit(0);
  });
});`;
}

/** The commands of the programs, which write to `file`, or undefined where the package does not build. */
export function npmCaptures(
  name: NpmCapture,
  file: string,
): Readonly<Record<keyof Programs, readonly string[]>> | undefined {
  const folder = join(process.cwd(), ".cache/peers", name); // npm would clear one package away for the other
  mkdirSync(folder, { recursive: true });
  try {
    build(folder, name);
  } catch (error) {
    console.log(`npm ${name} does not build here: ${String((error as Error).message).split("\n")[0]}`);
    return undefined;
  }
  const command = (job: keyof Programs) => {
    const program = join(folder, `${name}-${job}.cjs`);
    const text = PROGRAMS[name](file)[job];
    const counters = "let packets = 0, bytes = 0, dropped = 0;";
    writeFileSync(program, `${counters}\n${text}\nprocess.stderr.write("listening on v0\\n");\n`);
    return [process.execPath, program];
  };
  return { counting: command("counting"), writing: command("writing") };
}

function build(folder: string, name: NpmCapture): void {
  const place = join(folder, "node_modules", name);
  if (existsSync(join(place, "build/Release"))) return;
  if (!existsSync("/usr/include/pcap.h") && !existsSync("/usr/include/pcap/pcap.h"))
    execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "libpcap-dev"]);
  const wanted = `${name}@${VERSIONS[name]}`;
  const quietly = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder];
  execFileSync("npm", ["install", ...quietly, wanted], { stdio: "ignore" });
  // What their install scripts would run; npm no longer runs those without being asked.
  const root = execFileSync("npm", ["root", "-g"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const gyp = join(root.trim(), "npm/node_modules/node-gyp/bin/node-gyp.js");
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, "include/node/node.h")) ? [`--nodedir=${prefix}`] : [];
  execFileSync(process.execPath, [gyp, "rebuild", ...headers], { cwd: place, stdio: "ignore" });
}
