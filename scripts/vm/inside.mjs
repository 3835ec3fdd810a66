// In the guest: runs all test files in this one process, since starting another costs an emulated processor seconds.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

for (const file of process.argv.slice(2)) await import(pathToFileURL(resolve(file)).href);
