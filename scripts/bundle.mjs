// dist/lib/: what is shipped, from the modules that tsc has made in dist/src/: a few files that load at once, since a
// hundred small ones take longer to find and open than a capture takes to be read. What `millrace capture` needs of a
// file is one of them. All entry points share these files, so that there is one copy of each module's state.
import { copyFileSync, rmSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { rolldown } from "rolldown";
import { root } from "./setup.mjs";

const source = join(root, "dist/src");
const target = join(root, "dist/lib");

/** Everything that is loaded by its file's name, and what it is called in dist/lib/. */
const ENTRIES = {
  "index.js": "index",
  "device.js": "device",
  "cli/main.js": "millrace",
  "cli/gather-worker.js": "gather-worker",
  "cli/demo/worker.js": "demo-worker",
  "flow/worker-entry.js": "worker-entry",
  "flow/forward-worker.js": "forward-worker",
  "flow/sink.js": "sink",
  "layout/schema.js": "schema",
  "device/model/worker.js": "model-worker",
};
const KERNELS = "kernels/kernels.wasm";

/** What a module names by a path relative to itself lies beside it in dist/lib/, where there are no folders. */
const flatten = {
  name: "flatten",
  transform(code, id) {
    const moved = (text, from) => {
      const file = relative(source, resolve(dirname(id), from));
      if (Object.hasOwn(ENTRIES, file)) return text.replace(from, `./${ENTRIES[file]}.js`);
      if (file === KERNELS) return text.replace(from, "./kernels.wasm");
      if (file === "../../package.json") return text.replace(from, file);
      throw new Error(`${relative(root, id)} names ${from}, of which scripts/bundle.mjs does not know`);
    };
    return code
      .replace(/new URL\("(\.[^"]+)", import\.meta\.url\)/g, moved)
      .replace(/\brequire\("(\.[^"]+)"\)/g, moved);
  },
};

export async function bundle() {
  rmSync(target, { recursive: true, force: true });
  const made = await rolldown({
    input: Object.fromEntries(Object.entries(ENTRIES).map(([file, name]) => [name, join(source, file)])),
    platform: "node",
    external: [/^node:/, "koffi", "zod", "ipaddr.js"],
    plugins: [flatten],
    checks: { ineffectiveDynamicImport: false }, // one group has what every capture needs, on purpose
  });
  await made.write({
    dir: target,
    format: "esm",
    chunkFileNames: "[name]-[hash].js",
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
    codeSplitting: {
      groups: [
        { name: "core", test: /dist\/src\/(flow\/port|ports\/pcap\/port)\.js$/, priority: 2 },
        { name: "capture", test: /cli\/capture\.js$|commander/, priority: 1 },
      ],
    },
  });
  await made.close();
  copyFileSync(join(source, KERNELS), join(target, "kernels.wasm"));
  copyFileSync(join(root, "node_modules/commander/LICENSE"), join(target, "LICENSE.commander"));
}
