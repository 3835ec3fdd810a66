// Two hosts with a machine between them on which commands run, for the tests of the command line.
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";
import type { Report } from "../../src/flow/report.js";
import { ip, makeNamespaces, makeVeth, runIn, startIn } from "./netns.js";

export const MAIN = new URL("../../lib/millrace.js", import.meta.url).pathname;

export interface Lan {
  readonly client: string;
  readonly middle: string;
  readonly server: string;
}

export interface LanOptions {
  readonly queues?: number;
  readonly mtu?: number;
  /** The hosts' kernels say nothing of their own accord (no IPv6), so that packets can be counted. */
  readonly silent?: boolean;
}

/** client e0 ── v0 [middle] v1 ── e0 server, both ends in one subnet. */
export function makeLan(t: TestContext, options: LanOptions = {}): Lan | undefined {
  const names = makeNamespaces(t, "client", "middle", "server");
  if (names === undefined) return undefined;
  if (options.silent)
    for (const name of Object.values(names))
      runIn(name, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
  for (const [name, end, host] of [
    ["v0", names.client, 1],
    ["v1", names.server, 2],
  ] as const) {
    const addresses = [`10.7.0.${host}/24`, ...(options.silent ? [] : [`fd07::${host}/64`])];
    makeVeth(
      { namespace: names.middle, name },
      { namespace: end, name: "e0", addresses, finish: true },
      options,
    );
  }
  return names;
}

/** A command under way. */
export interface Running {
  readonly child: ChildProcess;
  /** Its exit status, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** What it has said on standard error so far. */
  said(): string;
  /** What it has printed on standard output; whole once it has ended. */
  printed(): string;
  /** Resolves when what it says matches. Rejects when it ends before. */
  says(pattern: RegExp): Promise<void>;
}

/** Starts `millrace …` in a namespace and waits until it says `ready`. */
export async function startMillrace(
  t: TestContext,
  namespace: string,
  ready: RegExp,
  ...args: readonly string[]
): Promise<Running> {
  const child = startIn(t, namespace, process.execPath, MAIN, ...args);
  let said = "";
  let printed = "";
  child.stdout?.on("data", (data) => {
    printed += data;
  });
  child.stderr?.on("data", (data) => {
    said += data;
  });
  const ended = once(child, "close").then(([status, signal]): number | NodeJS.Signals => status ?? signal);
  const says = (pattern: RegExp) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (pattern.test(said)) resolve();
      };
      look();
      child.stderr?.on("data", look);
      void ended.then((status) => reject(new Error(`it ended with ${status} before ${pattern}: ${said}`)));
    });
  await says(ready);
  return { child, ended, says, said: () => said, printed: () => printed };
}

/** `millrace forward …` in the middle; `report` ends it and has its report. */
export async function startForward(t: TestContext, lan: Lan, ...args: readonly string[]) {
  const running = await startMillrace(t, lan.middle, /forwarding between/, "forward", ...args, "--json");
  const report = async (): Promise<Report> => {
    running.child.kill("SIGINT");
    assert.equal(await running.ended, 0, running.said());
    return JSON.parse(running.printed());
  };
  return { ...running, report };
}

/** Packets that the kernel counted on an interface. */
export function packetsAt(namespace: string, name: string): { readonly rx: number; readonly tx: number } {
  const { rx, tx } = JSON.parse(ip("-n", namespace, "-s", "-j", "link", "show", "dev", name))[0].stats64;
  return { rx: rx.packets, tx: tx.packets };
}
