// `npm run test:vm [-- PATTERN …]`: boots the guest once, runs in it every test file of test/vm (or those whose
// name contains a PATTERN), then on this side all of test/vm/after, which judge what QEMU captured.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, run, setUp } from "../setup.mjs";
import { cache, findGuest } from "./guest.mjs";
import { machineArguments } from "./machine.mjs";
import { makeNetwork } from "./network.mjs";
import { reporters } from "./no-skips.mjs";

const limitSeconds = 2400; // a minute and a half on two idle cores, twelve minutes on two with a load of thirteen

function testFiles(folder, patterns) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".test.js"))
    .filter(
      (name) => patterns.length === 0 || patterns.some((pattern) => join(folder, name).includes(pattern)),
    )
    .map((name) => join(folder, name))
    .sort();
}

/** Boots, runs the files in the guest, and resolves to the guest's exit status. */
function boot(guest, out, files, network) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const missing = network.reason === undefined ? "" : `MILLRACE_NO_TAP=${quote(network.reason)} `;
  const environment = `${process.env.CI === undefined ? "" : `CI=${quote(process.env.CI)} `}${missing}`;
  const node = `${environment}MILLRACE_POISON=1 ${quote(process.execPath)} --expose-gc ${reporters.map(quote).join(" ")} scripts/vm/inside.mjs`;
  // A device that takes its time is tested beside the others, in a process of its own.
  const isSlow = (name) => name.endsWith(".slow.test.js");
  const command = (slow) => [node, ...files.filter((name) => isSlow(name) === slow).map(quote)].join(" ");
  writeFileSync(
    join(out, "run.sh"),
    [
      `cd ${quote(root)} || exit 1`,
      "ip link set lo up",
      `${command(true)} > /run/out/slow.log 2>&1 &`,
      `${command(false)}; status=$?`,
      "wait $!; slow=$?; cat /run/out/slow.log",
      "[ $status -ne 0 ] || status=$slow",
      "exit $status",
    ].join("\n"),
  );
  const hasTap = network.prefix !== undefined;
  const [program, ...args] = [...(network.prefix ?? []), "qemu-system-x86_64"];
  const qemu = spawn(program, [...args, ...machineArguments(guest, hasTap)], {
    cwd: out,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const timer = setTimeout(() => {
    console.error(`vm: the guest did not end within ${limitSeconds} s`);
    qemu.kill("SIGKILL");
  }, limitSeconds * 1000);
  return new Promise((resolve, reject) => {
    qemu.on("error", reject);
    qemu.on("exit", (status) => {
      clearTimeout(timer);
      // Odd: the guest said so itself. Even: it was powered off, or QEMU died, before its tests had ended.
      resolve(status !== null && status % 2 === 1 ? status >>> 1 : 1);
    });
  });
}

setUp();
const patterns = process.argv.slice(2);
const inside = testFiles("dist/test/vm", patterns);
const { guest, reason } = findGuest();
if (guest === undefined) {
  console.log(`vm: ${inside.length} test files skipped: ${reason}`);
  process.exit(process.env.CI === "true" ? 1 : 0);
}
const out = join(cache, "out");
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const network = await makeNetwork(out);
let status = 1;
try {
  status = await boot(guest, out, inside, network);
} finally {
  await network.close?.();
}
if (status !== 0) process.exit(status);
const after = testFiles("dist/test/vm/after", []);
if (after.length > 0)
  run(process.execPath, ["--test", ...reporters, ...after], {
    // Of a run of some files, not everything was captured.
    env: { ...process.env, MILLRACE_VM_OUT: out, ...(patterns.length === 0 ? {} : { CI: "" }) },
  });
