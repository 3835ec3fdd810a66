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

// `import` of a module of Node's has Node look at all that it exports, and so load streams and more for node:fs alone:
// milliseconds. Of these modules only what is used is taken, and nothing of `late` ones before it is called.
const BUILTINS = { fs: "now", os: "late", tty: "late", net: "late", util: "late" };
const isTaken = (id) => Object.hasOwn(BUILTINS, id.slice("node:".length));
/** What is installed with millrace; the rest is in its own files. */
const PACKAGES = ["koffi", "zod", "ipaddr.js"];
/** Node 24 warns of whoever looks at these, at each start. */
const DEPRECATED = ["F_OK", "R_OK", "W_OK", "X_OK"];
const isName = (name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== "default" && !DEPRECATED.includes(name);

/** commander starts other programs for those who ask it to; here nobody does. */
const SPAWN = /require\('node:child_process'\)/;

const builtins = {
  name: "builtins",
  transform: (code, id) =>
    id.endsWith("commander/lib/command.js")
      ? code.replace(
          SPAWN,
          "{ spawn: (...given) => process.getBuiltinModule('node:child_process').spawn(...given) }",
        )
      : null,
  resolveId: (id) => (id.startsWith("node:") && isTaken(id) ? `\0${id}` : null),
  load(id) {
    if (!id.startsWith("\0node:")) return null;
    const name = id.slice(1);
    const module = process.getBuiltinModule(name);
    const get = `process.getBuiltinModule("${name}")`;
    const late = BUILTINS[name.slice(5)] === "late";
    const of = (key) =>
      late && typeof module[key] === "function" && !/^[A-Z]/.test(key)
        ? `(...given) => ${get}.${key}(...given)`
        : `/* @__PURE__ */ (() => ${get}.${key})()`;
    return Object.keys(module)
      .filter(isName)
      .map((key) => `export const ${key} = ${of(key)};`)
      .join("\n");
  },
};

export async function bundle() {
  rmSync(target, { recursive: true, force: true });
  const made = await rolldown({
    input: Object.fromEntries(Object.entries(ENTRIES).map(([file, name]) => [name, join(source, file)])),
    platform: "node",
    external: (id) => (id.startsWith("node:") && !isTaken(id)) || PACKAGES.includes(id),
    plugins: [flatten, builtins],
  });
  await made.write({
    dir: target,
    format: "esm",
    chunkFileNames: "[name]-[hash].js",
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
    codeSplitting: {
      groups: [
        {
          name: "core",
          test: /dist\/src\/(flow\/port|ports\/pcap\/port)\.js$/,
          priority: 2,
        },
        { name: "command", test: /cli\/(capture|failure)\.js$|commander/, priority: 1 },
      ],
    },
  });
  await made.close();
  copyFileSync(join(source, KERNELS), join(target, "kernels.wasm"));
  copyFileSync(join(root, "node_modules/commander/LICENSE"), join(target, "LICENSE.commander"));
}
