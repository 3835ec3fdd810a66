// What `npm start` and `npm test` do first on a fresh clone: install the npm packages and build, each only
// when something changed since the last time.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Runs a command in the project's root with its output shown; ends this process with its status if it fails. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** The newest modification time, in milliseconds, of the files below the given paths; 0 where there is none. */
export function newest(...paths) {
  let time = 0;
  for (const path of paths.map((name) => join(root, name))) {
    if (!existsSync(path)) continue;
    const status = statSync(path);
    if (!status.isDirectory()) time = Math.max(time, status.mtimeMs);
    else
      for (const entry of readdirSync(path, { recursive: true, withFileTypes: true }))
        if (entry.isFile()) time = Math.max(time, statSync(join(entry.parentPath, entry.name)).mtimeMs);
  }
  return time;
}

export function setUp() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    console.error(`millrace needs Node 20.19 or newer; this is ${process.version}`);
    process.exit(1);
  }
  if (newest("package-lock.json", "package.json") > newest("node_modules/.package-lock.json"))
    run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
  run(process.execPath, ["scripts/build.mjs"]);
}
