// npm's packages for live captures, where they build: installed beside the repository's own, never among them.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const VERSIONS = { pcap: "3.1.0", cap: "0.2.1" } as const;
export type NpmCapture = keyof typeof VERSIONS;

/**
 * Programs that count what they capture on `v0`, and say so at SIGINT as tcpdump does. `cap` copies packets into the
 * buffer for as long as it captures, and takes no hold of it: without one here it is collected, and the heap corrupted.
 * Its ring has slots for the longest packets: in 10 MiB too few to lose none.
 */
const PROGRAMS: Readonly<Record<NpmCapture, string>> = {
  pcap: 'require("pcap").createSession("v0", { buffer_size: 10 << 20 }).on("packet", () => { count++; });',
  cap: 'globalThis.held = Buffer.alloc(65535); const cap = new (require("cap").Cap)(); cap.open("v0", "", 64 << 20, held); cap.on("packet", () => { count++; });',
};

const FRAME = (open: string) => `let count = 0;
${open}
process.stderr.write("listening on v0\\n");
process.on("SIGINT", () => {
  process.stderr.write(count + " packets captured\\n0 packets dropped by kernel\\n", () => process.exit(0));
});
`;

/** The command of a program that captures with the package, or undefined where that does not build. */
export function npmCapture(name: NpmCapture): readonly string[] | undefined {
  const folder = join(process.cwd(), ".cache/peers", name); // npm would clear one package away for the other
  mkdirSync(folder, { recursive: true });
  try {
    build(folder, name);
  } catch (error) {
    console.log(`npm ${name} does not build here: ${String((error as Error).message).split("\n")[0]}`);
    return undefined;
  }
  const program = join(folder, `${name}-capture.cjs`);
  writeFileSync(program, FRAME(PROGRAMS[name]));
  return [process.execPath, program];
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
