import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { shippedLayouts } from "../../src/layout/shipped/index.js";

const main = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));
const millrace = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });

test("millrace layout lists the shipped layouts and prints each as JSON that it takes again", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-layout-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const list = millrace("layout");
  assert.equal(list.status, 0, list.stderr);
  for (const name of Object.keys(shippedLayouts)) {
    assert.match(list.stdout, new RegExp(`^${name} `, "m"));
    const printed = millrace("layout", name);
    assert.equal(printed.status, 0, printed.stderr);
    const file = join(folder, `${name}.json`);
    writeFileSync(file, printed.stdout);
    assert.equal(millrace("layout", file).stdout, printed.stdout);
  }
});

test("millrace layout names the place in a wrong file and exits with 2", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-layout-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "wrong.json");
  writeFileSync(file, JSON.stringify({ name: "x", header: 8, length: { at: 4, bytes: 2, mask: "0x10000" } }));
  const { status, stderr } = millrace("layout", file);
  assert.equal(status, 2);
  assert.match(stderr, /wrong\.json: \$\.length\.mask: expected some of the bits 0xffff, got "0x10000"/);
  assert.equal(millrace("layout", "nosuch").status, 2);
});
