// The kernel's side of the guest: the interfaces that the cards are cabled to.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** The kernel's interface on the device at a PCI address. */
export function interfaceAt(address: string): string {
  const folder = `/sys/bus/pci/devices/${address}`;
  const holder = readdirSync(folder).find((name) => /^virtio\d/.test(name));
  const [name] = readdirSync(`${folder}/${holder === undefined ? "" : `${holder}/`}net`);
  assert.ok(name, `the kernel drives no interface at ${address}`);
  return name;
}

export function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
}

/** Gives the kernel's interface at a PCI address an IPv4 address, and one neighbour: the card it is cabled to. */
export function setUpPeer(address: string, own: string, neighbour: string, mac: Uint8Array): string {
  const name = interfaceAt(address);
  writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1");
  ip("addr", "replace", `${own}/24`, "dev", name);
  ip("link", "set", name, "up");
  const text = [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  ip("neigh", "replace", neighbour, "lladdr", text, "dev", name);
  return name;
}

export function macOf(name: string): Uint8Array {
  const text = readFileSync(`/sys/class/net/${name}/address`, "utf8").trim();
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** Asks again until it holds; throws after `milliseconds`. */
export async function eventually(what: string, holds: () => boolean, milliseconds = 10_000): Promise<void> {
  const limit = performance.now() + milliseconds;
  while (!holds()) {
    if (performance.now() > limit) throw new Error(`${what}: not within ${milliseconds} ms`);
    await sleep(1);
  }
}
