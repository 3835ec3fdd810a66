// Builds dist/: AssemblyScript kernels to one WebAssembly module, then TypeScript, then what is shipped (bundle.mjs).
// Skips what is up to date.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { newest, root, run } from "./setup.mjs";

const kernels = "dist/src/kernels/kernels.wasm";
if (newest("src/kernels", "package-lock.json", "scripts/build.mjs") > newest(kernels))
  run("node_modules/.bin/asc", [
    "src/kernels/assembly/index.ts",
    ...["--outFile", kernels, "--importMemory", "--exportTable", "--sharedMemory", "--initialMemory", "1"],
    ...["--maximumMemory", "65536", "--enable", "simd,threads,bulk-memory", "--runtime", "stub"],
    ...["--use", "abort=", "--noAssert", "-O3", "--converge"],
    // Vectors pass between functions of one module only, not to its embedder.
    ...["--disableWarning", "112"],
  ]);

const stamp = "dist/.built";
const sources = [
  "src",
  "test",
  "bench",
  "examples",
  "scripts/bundle.mjs",
  "tsconfig.json",
  "package-lock.json",
];
if (newest(...sources) > newest(stamp)) {
  run("node_modules/.bin/tsc", []);
  const { bundle } = await import("./bundle.mjs");
  await bundle();
  writeFileSync(join(root, stamp), "");
}
