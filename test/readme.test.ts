import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("README's programs compile as they stand and run", () => {
  const blocks = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/```ts\n(.*?)```/gs)].map(
    ([, code]) => code,
  );
  assert.ok(blocks.length >= 2);
  // Within the package, so that "millrace" is the package itself.
  const source = join(root, "dist/readme");
  mkdirSync(source, { recursive: true });
  const files = blocks.map((code, i) => {
    writeFileSync(join(source, `block${i}.ts`), code);
    return join(source, `block${i}.ts`);
  });
  const options = [
    "--ignoreConfig",
    "--strict",
    "--module",
    "nodenext",
    "--target",
    "es2022",
    "--lib",
    "es2022",
    "--types",
    "node",
  ];
  const built = spawnSync(join(root, "node_modules/.bin/tsc"), [...options, ...files], {
    encoding: "utf8",
    cwd: root,
  });
  assert.equal(built.status, 0, built.stdout);
  const folder = mkdtempSync(join(tmpdir(), "millrace-readme-"));
  try {
    copyFileSync(join(root, "test/data/captures/vxlan.pcap"), join(folder, "capture.pcapng"));
    for (const file of files) {
      const run = spawnSync(process.execPath, [file.replace(/\.ts$/, ".js")], {
        encoding: "utf8",
        cwd: folder,
      });
      assert.equal(run.status, 0, run.stderr);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("every command has a --help with an example", () => {
  const main = join(root, "dist/lib/millrace.js");
  const help = spawnSync(process.execPath, [main, "--help"], { encoding: "utf8" }).stdout;
  const commands = [...help.matchAll(/^ {2}([a-z]+)(?: |$)/gm)]
    .map(([, name]) => name)
    .filter((name) => name !== "help");
  assert.ok(commands.length >= 10, help);
  for (const command of commands) {
    const run = spawnSync(process.execPath, [main, command, "--help"], { encoding: "utf8" });
    assert.equal(run.status, 0, command);
    assert.match(run.stdout, /example/i, `${command} --help has no example`);
    assert.match(run.stdout, new RegExp(`millrace ${command} `), command);
  }
});
