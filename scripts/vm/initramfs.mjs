// An initramfs (cpio, "newc") from a kernel package's modules: neither cpio, depmod nor kmod is needed.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;
const CHARACTER_DEVICE = 0o020600;

/** One entry: header of 13 eight-digit hexadecimal numbers, name, data; each padded to four bytes. */
function cpioEntry(number, name, mode, data = Buffer.alloc(0), [major, minor] = [0, 0]) {
  const fields = [number, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
  const padding = (length) => Buffer.alloc(-length & 3);
  return Buffer.concat([Buffer.from(header), padding(header.length), data, padding(data.length)]);
}

/** Name → path of every module below `directory`; the kernel writes - and _ alike. */
function findModules(directory) {
  const modules = new Map();
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const match = /^(.+)\.ko(\.xz|\.zst)?$/.exec(entry.name);
    if (match !== null) modules.set(match[1].replaceAll("-", "_"), join(entry.parentPath, entry.name));
  }
  return modules;
}

function readModule(path) {
  if (path.endsWith(".xz")) return execFileSync("xz", ["-dc", path], { maxBuffer: 2 ** 28 });
  if (path.endsWith(".zst")) return execFileSync("zstd", ["-dc", path], { maxBuffer: 2 ** 28 });
  return readFileSync(path);
}

/** The wanted modules after all that they depend on (their .modinfo says); what is built in is left out. */
function loadOrder(modules, wanted) {
  const order = new Map();
  const seen = new Set();
  const visit = (name) => {
    if (name === "" || seen.has(name)) return;
    seen.add(name);
    const path = modules.get(name);
    if (path === undefined) return;
    const image = readModule(path);
    const depends = /\0depends=([^\0]*)\0/.exec(image.toString("latin1"))?.[1] ?? "";
    for (const other of depends.split(",")) visit(other.replaceAll("-", "_"));
    order.set(name, image);
  };
  for (const name of wanted) visit(name);
  return order;
}

/** Writes an initramfs with busybox, `init`, and the wanted modules with a file that says in which order to load them. */
export function writeInitramfs({ out, init, busybox, modules, wanted }) {
  const order = loadOrder(findModules(modules), wanted);
  const entries = [
    ...["bin", "dev", "proc", "sys", "host", "modules"].map((name) => [name, DIRECTORY]),
    ["dev/console", CHARACTER_DEVICE, undefined, [5, 1]],
    ["bin/busybox", PROGRAM, readFileSync(busybox)],
    ["init", PROGRAM, readFileSync(init)],
    ...[...order].map(([name, image]) => [`modules/${name}.ko`, FILE, image]),
    ["modules/order", FILE, Buffer.from(`${[...order.keys()].join("\n")}\n`)],
    ["TRAILER!!!", 0],
  ];
  writeFileSync(out, Buffer.concat(entries.map((entry, number) => cpioEntry(number + 1, ...entry))));
  return [...order.keys()].map((name) => basename(name));
}
