// An /etc of a test's own, in a mount namespace: which names a program finds there is the test's to say.
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/**
 * Runs commands to their end where /etc has these tables and no resolver but them. Undefined where namespaces cannot
 * be made: the test is skipped.
 */
export function makeEtc(
  t: TestContext,
  tables: Readonly<Record<"hosts" | "ethers" | "networks", string>>,
): ((...command: readonly string[]) => SpawnSyncReturns<string>) | undefined {
  if (spawnSync("unshare", ["-m", "true"]).status !== 0) {
    t.skip("namespaces need CAP_SYS_ADMIN: run as root");
    return undefined;
  }
  const etc = mkdtempSync(join(tmpdir(), "millrace-etc-"));
  t.after(() => rmSync(etc, { recursive: true, force: true }));
  // All that a program needs of /etc to start, and to look a name up.
  for (const file of ["ld.so.cache", "passwd", "group"].filter((file) => existsSync(join("/etc", file))))
    copyFileSync(join("/etc", file), join(etc, file));
  writeFileSync(join(etc, "nsswitch.conf"), "hosts: files\nnetworks: files\nethers: files\n");
  writeFileSync(join(etc, "host.conf"), "multi on\n"); // a host may have several lines
  for (const [name, text] of Object.entries(tables)) writeFileSync(join(etc, name), text);
  const script = 'mount --bind "$1" /etc && shift && exec "$@"';
  return (...command) =>
    spawnSync("unshare", ["-m", "sh", "-c", script, "sh", etc, ...command], { encoding: "utf8" });
}
