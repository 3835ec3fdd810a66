// Network namespaces of a test's own, with veth pairs between them, removed when the test ends, however it ends.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";

let made = 0;

/** Names of fresh namespaces, one for each label, or undefined where they cannot be made: then the test is skipped. */
export function makeNamespaces<Label extends string>(
  t: TestContext,
  ...labels: readonly Label[]
): Readonly<Record<Label, string>> | undefined {
  if (process.getuid?.() !== 0) {
    t.skip("network namespaces need root");
    return undefined;
  }
  made++;
  const names = Object.fromEntries(
    labels.map((label) => [label, `mr${process.pid}-${made}-${label}`]),
  ) as Record<Label, string>;
  t.after(() => {
    for (const name of Object.values<string>(names)) removeNamespace(name);
  });
  for (const name of Object.values<string>(names)) {
    ip("netns", "add", name);
    ip("-n", name, "link", "set", "lo", "up");
  }
  return names;
}

/** Removes a namespace and what lives in it; one that is gone already is left alone. */
export function removeNamespace(name: string): void {
  try {
    execFileSync("ip", ["netns", "del", name], { stdio: "pipe" });
  } catch (error) {
    if (!String((error as { stderr?: Buffer }).stderr).includes("No such file")) throw error;
  }
}

export function ip(...args: readonly string[]): string {
  return execFileSync("ip", args, { encoding: "utf8", stdio: "pipe" });
}

export interface VethEnd {
  readonly namespace: string;
  readonly name: string;
  /** As 10.0.0.1/24. */
  readonly addresses?: readonly string[];
  /** Finish checksums and segments before sending, as a card would: for a receiver that is no kernel. */
  readonly finish?: boolean;
}

/** Makes a veth pair, up, between two namespaces. */
export function makeVeth(
  one: VethEnd,
  other: VethEnd,
  options: { readonly mtu?: number; readonly queues?: number } = {},
): void {
  const queues = ["numrxqueues", String(options.queues ?? 1), "numtxqueues", String(options.queues ?? 1)];
  ip(
    ...["-n", one.namespace, "link", "add", one.name, ...queues, "type", "veth"],
    ...["peer", "name", other.name, "netns", other.namespace, ...queues],
  );
  for (const end of [one, other]) {
    ip("-n", end.namespace, "link", "set", end.name, "mtu", String(options.mtu ?? 1500), "up");
    for (const address of end.addresses ?? [])
      ip("-n", end.namespace, "address", "add", address, "dev", end.name, "nodad");
    if (end.finish) runIn(end.namespace, "ethtool", "-K", end.name, "tx", "off", "gro", "off");
  }
}

/** Runs a command in a namespace to its end and returns its output. Throws when it fails. */
export function runIn(namespace: string, command: string, ...args: readonly string[]): string {
  return execFileSync("ip", ["netns", "exec", namespace, command, ...args], {
    encoding: "utf8",
    stdio: "pipe",
    timeout: 60_000,
  });
}

/** Starts a command in a namespace; it is killed when the test ends. */
export function startIn(
  t: TestContext,
  namespace: string,
  command: string,
  ...args: readonly string[]
): ChildProcess {
  const child = spawn("ip", ["netns", "exec", namespace, command, ...args], { stdio: "pipe" });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return child;
}

/**
 * An iperf3 server in a namespace, for one test, once it listens. The one before may not have let go of the port
 * yet: then it is started again.
 */
export async function startIperf(t: TestContext, namespace: string): Promise<ChildProcess> {
  for (let tries = 0; tries < 50; tries++) {
    const server = startIn(t, namespace, "iperf3", "-s", "-1", "--forceflush");
    const listens = await new Promise<boolean>((resolve) => {
      server.stdout?.once("data", () => resolve(true));
      server.once("exit", () => resolve(false));
    });
    if (listens) return server;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`no iperf3 server would start in ${namespace}`);
}

/** What a command prints until it ends. Throws, with the output, when it fails. */
export async function outputOf(child: ChildProcess): Promise<string> {
  let output = "";
  child.stdout?.on("data", (text) => {
    output += text;
  });
  child.stderr?.on("data", (text) => {
    output += text;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${child.spawnargs.join(" ")} ended with ${code}: ${output}`);
  return output;
}
