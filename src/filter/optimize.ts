// Jump threading: a test whose outcome is known from the tests before it is skipped. Since a known outcome means
// that the same value was computed on the way, nothing is skipped that could have found the packet too short.
import {
  assignment,
  type Block,
  blockTable,
  decision,
  evaluation,
  type Graph,
  ordered,
  pass,
  type TestBlock,
} from "./graph.js";

/**
 * Outcomes of tests on the way to a block, the latest first; blocks share the tails of their lists. `far` skips some
 * of the list, the more the longer it is (Myers, "An applicative random-access stack", 1983).
 */
interface Fact {
  readonly test: TestBlock;
  readonly outcome: boolean;
  readonly before: Fact;
  readonly far: Fact;
  readonly depth: number;
}

/** The end of every list. */
const NOTHING = { depth: 0 } as Fact;
Object.assign(NOTHING, { before: NOTHING, far: NOTHING });

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
  const order = ordered(graph, root);
  const facts = knownFacts(graph, order);
  const rebuilt = blockTable<Block>(graph);
  const ways = blockTable<Ways>(graph);
  for (const block of order.reverse()) {
    const before = facts[block.id] ?? NOTHING;
    if (block.kind === "verdict") rebuilt[block.id] = block;
    else if (block.kind === "assign")
      rebuilt[block.id] = assignment(graph, block.slot, block.value, rebuilt[block.next.id]!);
    else if (block.kind === "pass")
      rebuilt[block.id] = pass(graph, rebuilt[skipKnown(block.next, before, ways).id]!);
    else {
      const onward = {
        yes: skipKnown(block.yes, learn(block, true, before), ways),
        no: skipKnown(block.no, learn(block, false, before), ways),
      };
      ways[block.id] = onward;
      const yes = rebuilt[onward.yes.id]!;
      const no = rebuilt[onward.no.id]!;
      const same = yes === block.yes && no === block.no;
      rebuilt[block.id] = same ? block : decision(graph, block.op, block.left, block.right, yes, no);
    }
  }
  return rebuilt[root.id]!;
}

/** The graph without its `pass` blocks. */
export function dropPasses(graph: Graph, root: Block): Block {
  const rebuilt = blockTable<Block>(graph);
  for (const block of ordered(graph, root).reverse())
    if (block.kind === "verdict") rebuilt[block.id] = block;
    else if (block.kind === "pass") rebuilt[block.id] = rebuilt[block.next.id];
    else if (block.kind === "assign")
      rebuilt[block.id] = assignment(graph, block.slot, block.value, rebuilt[block.next.id]!);
    else {
      const [yes, no] = [rebuilt[block.yes.id]!, rebuilt[block.no.id]!];
      rebuilt[block.id] = evaluation(graph, block.op, block.left, block.right, yes, no);
    }
  return rebuilt[root.id]!;
}

function learn(test: TestBlock, outcome: boolean, before: Fact): Fact {
  if (test.left.varies || test.right.varies) return before;
  const { far } = before;
  const alike = before.depth - far.depth === far.depth - far.far.depth;
  return { test, outcome, before, far: alike ? far.far : before, depth: before.depth + 1 };
}

/** What is known at the entry of each block: what all ways to it have in common. */
function knownFacts(graph: Graph, order: readonly Block[]): (Fact | undefined)[] {
  const facts = blockTable<Fact>(graph);
  const enter = (block: Block, fact: Fact) => {
    if (block.kind === "verdict") return;
    const entry = facts[block.id];
    facts[block.id] = entry === undefined ? fact : common(entry, fact);
  };
  for (const block of order) {
    const before = facts[block.id] ?? NOTHING;
    if (block.kind === "test") {
      enter(block.yes, learn(block, true, before));
      enter(block.no, learn(block, false, before));
    } else if (block.kind !== "verdict") enter(block.next, before);
  }
  return facts;
}

/** The tail that two lists share. */
function common(first: Fact, second: Fact): Fact {
  let [long, short] = first.depth > second.depth ? [first, second] : [second, first];
  while (long.depth > short.depth) long = long.far.depth >= short.depth ? long.far : long.before;
  while (long !== short)
    // Lists of one length have their `far` at one depth: the shared tail begins behind both, or before.
    [long, short] = long.far === short.far ? [long.before, short.before] : [long.far, short.far];
  return long;
}

/** Where a test leads, past the tests that are known on every way to it. */
interface Ways {
  readonly yes: Block;
  readonly no: Block;
}

/** The first block whose outcome is not known. Long runs of known tests are passed over by the ways of the first. */
function skipKnown(start: Block, fact: Fact, ways: readonly (Ways | undefined)[]): Block {
  let block = start;
  while (block.kind === "test") {
    const outcome = known(block, fact);
    if (outcome === undefined) return block;
    const onward = ways[block.id]!;
    block = outcome ? onward.yes : onward.no;
  }
  return block;
}

/**
 * The outcome of a test, if the facts decide it: the same test, or a value found equal to another constant. More
 * could be concluded from magnitudes; but then tests would be skipped that libpcap runs into the end of a packet.
 */
function known(block: TestBlock, newest: Fact): boolean | undefined {
  let fact = newest;
  for (let steps = 0; fact !== NOTHING && steps < MEMORY; steps++, fact = fact.before) {
    const { test, outcome } = fact;
    if (test.left !== block.left) continue;
    if (test.right === block.right && test.op === block.op) return outcome;
    if (test.right.kind !== "constant" || block.right.kind !== "constant") continue;
    if (test.op === "eq" && block.op === "eq" && outcome) return false;
  }
  return undefined;
}
