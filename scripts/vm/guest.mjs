// The guest's kernel and initramfs, made of Debian packages that are downloaded and unpacked, never installed.
// Prepared once under .cache/vm and made anew when a script or the kernel package changes.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../setup.mjs";
import { writeInitramfs } from "./initramfs.mjs";

export const cache = join(root, ".cache/vm");
const scripts = join(root, "scripts/vm");

// The NICs' own kernel drivers are there for their peers in the guest.
const modules = [
  ...["virtio_pci", "9pnet_virtio", "9p", "vfio_pci", "vfio_iommu_type1"],
  ...["e1000e", "virtio_net", "tun", "veth", "af_packet", "8021q"],
];
const kept = ["virtio", "vfio", "net", "ptp", "pps", "dca", "i2c"].map((name) => `drivers/${name}`);
const folders = [...kept, "net", "fs/9p", "fs/netfs", "fs/fscache", "virt", "crypto", "lib"];

class Unavailable extends Error {}

function output(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 28, ...options });
  if (result.error !== undefined || result.status !== 0)
    throw new Unavailable(
      `${command} ${args.slice(0, 2).join(" ")}: ${result.error?.message ?? String(result.stderr).trim()}`,
    );
  return result.stdout;
}

/** Where QEMU and the guest are, preparing the guest first where need be; or the reason why they cannot be had. */
export function findGuest() {
  try {
    if (process.platform !== "linux" || process.arch !== "x64")
      throw new Unavailable("the guest is made for x86-64 Linux");
    if (spawnSync("qemu-system-x86_64", ["--version"]).status !== 0)
      throw new Unavailable("QEMU is missing (apt-get install qemu-system-x86)");
    return { guest: prepare() };
  } catch (error) {
    if (error instanceof Unavailable) return { reason: error.message };
    throw error;
  }
}

function prepare() {
  const guest = { kernel: join(cache, "vmlinux"), initramfs: join(cache, "initramfs") };
  const recipe = createHash("sha256");
  for (const name of ["guest.mjs", "initramfs.mjs", "init.sh"])
    recipe.update(readFileSync(join(scripts, name)));
  const wanted = recipe.digest("hex");
  const stamp = join(cache, "prepared");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return guest;
  console.log("vm: preparing the guest");
  rmSync(stamp, { force: true });
  const packages = join(cache, "packages");
  mkdirSync(packages, { recursive: true });
  const kernel = /Depends: (linux-image-\S+)/.exec(
    output("apt-cache", ["depends", "linux-image-amd64"]),
  )?.[1];
  if (kernel === undefined) throw new Unavailable("apt knows no package linux-image-amd64 (apt-get update)");
  const tree = join(cache, "tree");
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(tree, { recursive: true });
  const wildcards = folders.map((folder) => `./lib/modules/*/kernel/${folder}/*`);
  const images = wildcards.map((pattern) => pattern.replace("./lib", "./usr/lib"));
  unpack(download(packages, kernel), tree, ["./boot/vmlinuz-*", ...wildcards, ...images]);
  unpack(download(packages, "busybox-static"), tree, ["*/bin/busybox"]);
  const boot = join(tree, "boot");
  writeFileSync(guest.kernel, extractKernel(readFileSync(join(boot, readdirSync(boot)[0]))));
  const below = (name) => [join(tree, name), join(tree, "usr", name)].find((path) => existsSync(path));
  writeInitramfs({
    out: guest.initramfs,
    init: join(scripts, "init.sh"),
    busybox: below("bin/busybox"),
    modules: below("lib/modules"),
    wanted: modules,
  });
  rmSync(tree, { recursive: true });
  writeFileSync(stamp, wanted);
  return guest;
}

/** The package's file below `folder`, from there if it is there already. */
function download(folder, name) {
  const find = () => readdirSync(folder).find((file) => file.startsWith(`${name}_`) && file.endsWith(".deb"));
  if (find() === undefined)
    output("apt-get", ["download", "-qq", "-o", "Acquire::Retries=5", name], { cwd: folder });
  return join(folder, find());
}

function unpack(file, tree, patterns) {
  const extract = `dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --wildcards ${patterns.map((p) => `'${p}'`).join(" ")}`;
  // tar complains of patterns that match nothing; a kernel may lack some of the folders.
  spawnSync("sh", ["-c", extract, file, tree]);
}

/** The ELF image inside a bzImage: an emulated processor would take long to unpack it at each boot. */
function extractKernel(image) {
  const packers = [
    [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], "xz", ["-dc", "--single-stream"]],
    [[0x28, 0xb5, 0x2f, 0xfd], "zstd", ["-dc"]],
    [[0x1f, 0x8b, 8], "gzip", ["-dc"]],
  ];
  for (const [magic, command, args] of packers)
    for (
      let at = image.indexOf(Buffer.from(magic));
      at >= 0;
      at = image.indexOf(Buffer.from(magic), at + 1)
    ) {
      const { stdout } = spawnSync(command, args, { input: image.subarray(at), maxBuffer: 2 ** 29 });
      if (stdout?.subarray(0, 4).toString("latin1") === "\x7fELF") return stdout;
    }
  throw new Unavailable("the kernel package holds no ELF image that xz, zstd or gzip can unpack");
}
