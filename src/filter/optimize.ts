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
  type Table,
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

/** Something of each test, by its outcome. */
interface Sides<T> {
  readonly yes: Table<T>;
  readonly no: Table<T>;
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
  const order = ordered(graph, root);
  const facts = knownFacts(graph, order);
  const rebuilt = blockTable<Block>(graph);
  const ways: Sides<Block> = { yes: blockTable(graph), no: blockTable(graph) };
  for (const block of order.reverse()) {
    if (block.kind === "verdict") rebuilt[block.id] = block;
    else if (block.kind === "assign")
      rebuilt[block.id] = assignment(graph, block.slot, block.value, rebuilt[block.next.id]!);
    else if (block.kind === "pass")
      rebuilt[block.id] = pass(graph, rebuilt[skipKnown(block.next, facts.entry[block.id]!, ways).id]!);
    else {
      const onYes = skipKnown(block.yes, facts.yes[block.id]!, ways);
      const onNo = skipKnown(block.no, facts.no[block.id]!, ways);
      ways.yes[block.id] = onYes;
      ways.no[block.id] = onNo;
      const yes = rebuilt[onYes.id]!;
      const no = rebuilt[onNo.id]!;
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

/** What is known at the entry of each block, which is what all ways to it have in common, and behind each test. */
function knownFacts(graph: Graph, order: readonly Block[]): Sides<Fact> & { readonly entry: Table<Fact> } {
  const entry = blockTable<Fact>(graph);
  const yes = blockTable<Fact>(graph);
  const no = blockTable<Fact>(graph);
  const enter = (block: Block, fact: Fact) => {
    const before = entry[block.id];
    if (block.kind !== "verdict") entry[block.id] = before === undefined ? fact : common(before, fact);
  };
  entry[order[0].id] = NOTHING;
  for (const block of order) {
    if (block.kind === "verdict") continue;
    const before = entry[block.id]!;
    if (block.kind === "test") {
      yes[block.id] = learn(block, true, before);
      no[block.id] = learn(block, false, before);
      enter(block.yes, yes[block.id]!);
      enter(block.no, no[block.id]!);
    } else enter(block.next, before);
  }
  return { entry, yes, no };
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

/** The first block whose outcome is not known. Long runs of known tests are passed over by the ways of the first. */
function skipKnown(start: Block, fact: Fact, ways: Sides<Block>): Block {
  let block = start;
  while (block.kind === "test") {
    const outcome = known(block, fact);
    if (outcome === undefined) return block;
    block = (outcome ? ways.yes : ways.no)[block.id]!;
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
