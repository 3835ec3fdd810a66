// Jump threading: a test whose outcome is known from the tests before it is skipped. Since a known outcome means
// that the same value was computed on the way, nothing is skipped that could have found the packet too short.
import {
  assignment,
  type Block,
  decision,
  evaluation,
  type Graph,
  ordered,
  pass,
  type TestBlock,
} from "./graph.js";
import type { Value } from "./ir.js";

/** Outcomes of tests on the way to a block, the latest first; blocks share the tails of their lists. */
interface Fact {
  readonly test: TestBlock;
  readonly outcome: boolean;
  readonly before: Fact | undefined;
  readonly depth: number;
}

/** How far back a fact is looked for: keeps the work linear in very long expressions. */
const MEMORY = 256;
const ROUNDS = 20;

/** The graph without the tests whose outcome is known. */
export function threadJumps(graph: Graph, root: Block): Block {
  let current = root;
  for (let round = 0; round < ROUNDS; round++) {
    const next = threadOnce(graph, current);
    if (next === current) return next;
    current = next;
  }
  return current;
}

function threadOnce(graph: Graph, root: Block): Block {
  const order = ordered(root);
  const facts = knownFacts(order);
  const rebuilt = new Map<Block, Block>();
  const ways = new Map<Block, Ways>();
  for (const block of order.reverse()) {
    if (block.kind === "verdict") rebuilt.set(block, block);
    else if (block.kind === "assign")
      rebuilt.set(block, assignment(graph, block.slot, block.value, rebuilt.get(block.next)!));
    else if (block.kind === "pass")
      rebuilt.set(block, pass(graph, rebuilt.get(skipKnown(block.next, facts.get(block), ways))!));
    else {
      const before = facts.get(block);
      const onward = {
        yes: skipKnown(block.yes, learn(block, true, before), ways),
        no: skipKnown(block.no, learn(block, false, before), ways),
      };
      ways.set(block, onward);
      const yes = rebuilt.get(onward.yes)!;
      const no = rebuilt.get(onward.no)!;
      const same = yes === block.yes && no === block.no;
      rebuilt.set(block, same ? block : decision(graph, block.op, block.left, block.right, yes, no));
    }
  }
  return rebuilt.get(root)!;
}

/** The graph without its `pass` blocks. */
export function dropPasses(graph: Graph, root: Block): Block {
  const rebuilt = new Map<Block, Block>();
  for (const block of ordered(root).reverse())
    if (block.kind === "verdict") rebuilt.set(block, block);
    else if (block.kind === "pass") rebuilt.set(block, rebuilt.get(block.next)!);
    else if (block.kind === "assign")
      rebuilt.set(block, assignment(graph, block.slot, block.value, rebuilt.get(block.next)!));
    else
      rebuilt.set(
        block,
        evaluation(graph, block.op, block.left, block.right, rebuilt.get(block.yes)!, rebuilt.get(block.no)!),
      );
  return rebuilt.get(root)!;
}

function learn(test: TestBlock, outcome: boolean, before: Fact | undefined): Fact | undefined {
  if (dependsOnSlots(test.left) || dependsOnSlots(test.right)) return before;
  return { test, outcome, before, depth: (before?.depth ?? 0) + 1 };
}

/** What is known at the entry of each block: what all ways to it have in common. */
function knownFacts(order: readonly Block[]): Map<Block, Fact | undefined> {
  const facts = new Map<Block, Fact | undefined>();
  const enter = (block: Block, fact: Fact | undefined) => {
    if (block.kind === "verdict") return;
    facts.set(block, facts.has(block) ? common(facts.get(block), fact) : fact);
  };
  for (const block of order)
    if (block.kind === "test") {
      enter(block.yes, learn(block, true, facts.get(block)));
      enter(block.no, learn(block, false, facts.get(block)));
    } else if (block.kind !== "verdict") enter(block.next, facts.get(block));
  return facts;
}

function common(first: Fact | undefined, second: Fact | undefined): Fact | undefined {
  let a = first;
  let b = second;
  while (a !== b) {
    const depthA = a?.depth ?? 0;
    const depthB = b?.depth ?? 0;
    if (depthA >= depthB) a = a?.before;
    if (depthB >= depthA) b = b?.before;
  }
  return a;
}

/** Where a test leads, past the tests that are known on every way to it. */
interface Ways {
  readonly yes: Block;
  readonly no: Block;
}

/** The first block whose outcome is not known. Long runs of known tests are passed over by the ways of the first. */
function skipKnown(start: Block, fact: Fact | undefined, ways: ReadonlyMap<Block, Ways>): Block {
  let block = start;
  while (block.kind === "test") {
    const outcome = known(block, fact);
    if (outcome === undefined) return block;
    const onward = ways.get(block)!;
    block = outcome ? onward.yes : onward.no;
  }
  return block;
}

/**
 * The outcome of a test, if the facts decide it: the same test, or a value found equal to another constant. More
 * could be concluded from magnitudes; but then tests would be skipped that libpcap runs into the end of a packet.
 */
function known(block: TestBlock, newest: Fact | undefined): boolean | undefined {
  let fact = newest;
  for (let steps = 0; fact !== undefined && steps < MEMORY; steps++, fact = fact.before) {
    const { test, outcome } = fact;
    if (test.left !== block.left) continue;
    if (test.right === block.right && test.op === block.op) return outcome;
    if (test.right.kind !== "constant" || block.right.kind !== "constant") continue;
    if (test.op === "eq" && block.op === "eq" && outcome) return false;
  }
  return undefined;
}

const SLOT_DEPENDENT = new WeakMap<Value, boolean>();

/** Whether a value is computed from a slot, and so may differ from one place of the program to another. */
export function dependsOnSlots(value: Value): boolean {
  let result = SLOT_DEPENDENT.get(value);
  if (result === undefined) {
    if (value.kind === "slot") result = true;
    else if (value.kind === "binary") result = dependsOnSlots(value.left) || dependsOnSlots(value.right);
    else if (value.kind === "negate") result = dependsOnSlots(value.value);
    else if (value.kind === "load") result = value.base !== undefined && dependsOnSlots(value.base);
    else result = false;
    SLOT_DEPENDENT.set(value, result);
  }
  return result;
}
