// Filters before udp: ports: the kernel runs them at the socket, where the headers are that readers do not see.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MillraceError, open } from "../../src/index.js";
import { createBench, dgram, freePort, pattern } from "../kit/driver.js";

const LIMIT_MS = 60_000;

/** What a port with this filter hands over of what `send` sends, `count` datagrams; the rest must be counted. */
async function taken(
  locator: string,
  filter: string,
  count: number,
  send: () => Promise<void>,
): Promise<Buffer[]> {
  const until = AbortSignal.timeout(LIMIT_MS);
  const port = await open(locator, { filter, signal: until });
  try {
    assert.equal(port.stats().filteredIn, "socket");
    await send();
    const got: Buffer[] = [];
    const reading = (async () => {
      for await (const burst of port) for (const packet of burst) got.push(Buffer.from(packet.copy()));
    })();
    const closed = assert.rejects(reading, { code: "ERR_CLOSED" });
    // The kernel counts what it has refused at the socket with what did not fit into its buffer.
    while (got.length + (port.stats().dropped.kernel ?? 0) < count) {
      assert.ok(!until.aborted, `${filter}: ${got.length} of ${count} came, ${JSON.stringify(port.stats())}`);
      await sleep(1);
    }
    const { received, dropped } = port.stats();
    assert.equal(received.packets, got.length);
    assert.equal(dropped.kernel, count - got.length);
    await port.close();
    await closed;
    return got;
  } finally {
    await port.close();
  }
}

/** Two programs on loopback addresses of their own: `a` sends ten bytes with a TTL of 200, `b` twenty. */
async function senders(t: TestContext, port: number) {
  const [a, b] = [await dgram("127.0.0.2"), await dgram("127.0.0.3")];
  t.after(() => {
    a.socket.close();
    b.socket.close();
  });
  a.socket.setTTL(200);
  const one = ({ socket }: typeof a, text: string) =>
    new Promise<void>((resolve, reject) =>
      socket.send(text, port, "127.0.0.1", (error) => (error === null ? resolve() : reject(error))),
    );
  const send = async () => {
    for (let i = 0; i < 5; i++) {
      await one(a, "a".repeat(10));
      await one(b, "b".repeat(20));
    }
  };
  return { a, b, send };
}

test("a udp: port takes what its filter takes, by sender, port, network, header field and length", async (t) => {
  const here = await freePort("127.0.0.1");
  const { a, b, send } = await senders(t, here);
  const sent = ["a".repeat(10), "b".repeat(20)];
  const cases: Readonly<Record<string, string>> = {
    "src host 127.0.0.2": "a",
    "not src host 127.0.0.2": "b",
    [`src port ${b.port}`]: "b",
    [`udp dst port ${here} and src portrange ${a.port}-${a.port}`]: "a",
    "src net 127.0.0.2/31": "ab",
    "ip[8] > 100": "a",
    "ip proto 17 and dst host 127.0.0.1": "ab",
    [`udp[4:2] = ${8 + 20}`]: "b",
    "ip[2:2] = 20 + 8 + 10": "a",
    tcp: "",
    ip6: "",
  };
  for (const [filter, expected] of Object.entries(cases))
    for (const host of ["127.0.0.1", "[::]"]) {
      const got = await taken(`udp://${host}:${here}`, filter, 10, send);
      const each = sent.filter((text) => expected.includes(text[0]));
      assert.deepEqual(got.map(String), Array(5).fill(each).flat(), `${filter} on ${host}`);
    }
});

test("datagrams that the kernel has joined to a run are judged one by one where they differ", async (t) => {
  const bench = createBench();
  t.after(() => bench.close());
  const here = await freePort("127.0.0.1");
  const out = await bench.open(`udp://127.0.0.1:${here}`, "out");
  // One run, by GSO: ten of a length and a last one that is shorter.
  const run = Array.from({ length: 11 }, (_, i) => pattern(i < 10 ? 1400 : 700, i));
  const send = () => bench.send(out, run);
  for (const [filter, expected] of [
    ["udp[4:2] = 1408", run.slice(0, 10)],
    ["udp[4:2] = 708", run.slice(10)],
    ["src host 127.0.0.1", run],
  ] as const) {
    const got = await taken(`udp://127.0.0.1:${here}`, filter, run.length, send);
    assert.deepEqual(
      got.map((bytes) => new Uint8Array(bytes)),
      expected,
      filter,
    );
  }
});

test("what came before the filter was in its place is not handed over", async (t) => {
  const bench = createBench();
  t.after(() => bench.close());
  const here = await freePort("127.0.0.1");
  const { send } = await senders(t, here);
  const { compileFilter } = await import("../../src/filter/compile.js");
  const { program } = compileFilter("src host 127.0.0.2", { linkType: "RAW" });
  const driver = await bench.open(`udp://127.0.0.1:${here}`, "in", undefined, async (port) => {
    await send();
    assert.equal(port.attachFilter?.(program), "socket");
  });
  await send();
  const got = await bench.receive(driver, 5);
  assert.deepEqual(
    got.map(({ bytes }) => bytes.toString()),
    Array(5).fill("a".repeat(10)),
  );
});

test("a filter that looks at what a socket does not show is refused, with another way", async () => {
  for (const filter of ["udp[8] = 1", "less 100", "ip[ip[2:2]] = 0", "ip6[48:4] = 1"])
    await assert.rejects(open("udp://127.0.0.1:0", { filter }), (error) => {
      assert.ok(error instanceof MillraceError);
      assert.equal(error.code, "ERR_FILTER");
      assert.match(error.message, /headers only/);
      assert.match(String(error.hint), /packet:/);
      return true;
    });
  await assert.rejects(open("udp://127.0.0.1:0", { filter: "ether host 02:00:00:00:00:01" }), /filter: /);
});
