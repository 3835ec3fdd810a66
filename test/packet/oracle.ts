// Whether the programs that tests compare with are there. Missing ones skip a test, and on CI fail it.
import { spawnSync } from "node:child_process";
import type { TestContext } from "node:test";

export function needs(t: TestContext, program: string): boolean {
  if (spawnSync(program, ["--version"], { stdio: "ignore" }).error === undefined) return true;
  if (process.env.CI === "true") throw new Error(`${program} is not installed`);
  t.skip(`${program} is not installed`);
  return false;
}
