// The package as npm would install it: its command, from wherever it lies, and its library, which share their modules.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { KOFFI_VERSION } from "../src/linux/libc.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "millrace package with spaces-"));
const modules = join(folder, "node_modules");
const command = join(folder, "bin", "millrace");
const capture = join(root, "test/data/captures/vxlan.pcap");
const rtp = join(root, "test/data/gather/rtp-mp2t-ffmpeg.pcap");

function run(words: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return spawnSync(process.execPath, words, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 26,
  });
}

before(() => {
  const packed = spawnSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
    cwd: root,
    encoding: "utf8",
  });
  assert.equal(packed.status, 0, packed.stderr);
  const [{ filename }] = JSON.parse(packed.stdout) as [{ filename: string }];
  mkdirSync(modules);
  assert.equal(spawnSync("tar", ["-xzf", join(folder, basename(filename)), "-C", modules]).status, 0);
  const { status } = spawnSync("mv", [join(modules, "package"), join(modules, "millrace")]);
  assert.equal(status, 0);
  // Dependencies as they are installed here; no others.
  for (const name of ["koffi", "zod", "ipaddr.js"])
    symlinkSync(realpathSync(join(root, "node_modules", name)), join(modules, name));
  mkdirSync(dirname(command));
  symlinkSync(join(modules, "millrace/dist/lib/millrace.js"), command);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test("it has what it runs, its types and nothing else", () => {
  const files = readdirSync(join(modules, "millrace"), { recursive: true, encoding: "utf8" });
  assert.ok(files.includes("dist/lib/kernels.wasm"));
  assert.ok(files.includes("dist/src/index.d.ts"));
  const others = files.filter((name) => /\.(map|ts|mjs)$/.test(name) && !name.endsWith(".d.ts"));
  assert.deepEqual(others, []);
  assert.ok(!files.some((name) => name.startsWith("dist/test") || name.startsWith("dist/bench")));
});

test("its command runs through a link and from a path with spaces", () => {
  const version = run([command, "--version"]);
  assert.equal(version.status, 0, version.stderr);
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
  const listed = run([command, "capture", "-r", capture, "-c", "2"]);
  assert.equal(listed.status, 0, listed.stderr);
  assert.equal(listed.stdout.trim().split("\n").length, 2);
  const compressed = join(folder, "capture.pcap.gz");
  assert.equal(spawnSync("sh", ["-c", `gzip -c "${capture}" > "${compressed}"`]).status, 0);
  const gathered = run([command, "info", compressed]);
  assert.equal(gathered.status, 0, gathered.stderr);
});

test("its command starts workers", () => {
  const demo = run([command, "demo"]);
  assert.equal(demo.status, 0, demo.stderr);
});

test("a module given to its command and the command use one millrace", () => {
  const transform = join(folder, "transform.mjs");
  // A port takes chunks of its own millrace only.
  writeFileSync(
    transform,
    `import { open } from "millrace";
     const port = await open("udp://127.0.0.1:9", { direction: "out" });
     let sent = 0;
     export function transform(chunk) { sent += port.send(chunk); }
     process.on("exit", () => process.stderr.write(\`sent \${sent > 0}\\n\`));`,
  );
  const words = [
    command,
    "gather",
    "--from",
    rtp,
    "--layout",
    "rtp",
    "--to",
    `file:${join(folder, "out.ts")}`,
  ];
  const gathered = run([...words, "--transform", transform]);
  assert.equal(gathered.status, 0, gathered.stderr);
  assert.match(gathered.stderr, /sent true/);
});

test("koffi's binary is taken directly in the version that is installed", () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    dependencies: Readonly<Record<string, string>>;
  };
  assert.equal(KOFFI_VERSION, dependencies.koffi);
});
