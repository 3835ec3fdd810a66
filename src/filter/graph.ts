// Conditions as a graph of decisions without cycles: what each test leads to when it holds and when it does not.
import type { Condition, TestOp, Value } from "./ir.js";

export type Block = { readonly id: number } & (
  | {
      readonly kind: "test";
      readonly op: TestOp;
      readonly left: Value;
      readonly right: Value;
      readonly yes: Block;
      readonly no: Block;
    }
  | { readonly kind: "assign"; readonly slot: number; readonly value: Value; readonly next: Block }
  /** Nothing: it keeps a test whose outcomes meet here from being left out. */
  | { readonly kind: "pass"; readonly next: Block }
  | { readonly kind: "verdict"; readonly accept: boolean }
);
export type TestBlock = Block & { readonly kind: "test" };

/** Blocks of one program. Tests are told apart until they are laid out; then equal blocks become one. */
export interface Graph {
  readonly interned: Map<string, Block>;
  next: number;
}

export function createGraph(): Graph {
  return { interned: new Map(), next: 0 };
}

function intern(graph: Graph, key: string, make: (id: number) => Block): Block {
  let block = graph.interned.get(key);
  if (block === undefined) {
    block = make(graph.next++);
    graph.interned.set(key, block);
  }
  return block;
}

export function verdict(graph: Graph, accept: boolean): Block {
  return intern(graph, `v${accept}`, (id) => ({ id, kind: "verdict", accept }));
}

export function assignment(graph: Graph, slot: number, value: Value, next: Block): Block {
  return intern(graph, `a${slot},${value.id},${next.id}`, (id) => ({
    id,
    kind: "assign",
    slot,
    value,
    next,
  }));
}

export function pass(graph: Graph, next: Block): Block {
  return intern(graph, `p${next.id}`, (id) => ({ id, kind: "pass", next }));
}

/**
 * A test of its own; where its outcome makes no difference, what it leads to. Two tests that happen to be equal
 * are two, so that the tests before them are not left out because of it: libpcap makes them.
 */
export function decision(graph: Graph, op: TestOp, left: Value, right: Value, yes: Block, no: Block): Block {
  return yes === no ? yes : { id: graph.next++, kind: "test", op, left, right, yes, no };
}

/** A test that is made even if both outcomes lead to the same: it rejects packets too short for it. */
export function evaluation(
  graph: Graph,
  op: TestOp,
  left: Value,
  right: Value,
  yes: Block,
  no: Block,
): Block {
  const key = `${op}${left.id},${right.id},${yes.id},${no.id}`;
  return intern(graph, key, (id) => ({ id, kind: "test", op, left, right, yes, no }));
}

/** The most blocks that a condition may make: they have about two instructions each, of which 2^20 are run. */
export const MOST_BLOCKS = 1 << 19;

/** The graph of a condition; no whole one where it would have more than MOST_BLOCKS. Runs of `and` and `or` cost no depth of the stack: only parentheses do. */
export function lower(graph: Graph, condition: Condition, whenTrue: Block, whenFalse: Block): Block {
  let current = condition;
  let yes = whenTrue;
  let no = whenFalse;
  while (graph.next <= MOST_BLOCKS)
    switch (current.kind) {
      case "always":
        return current.value ? yes : no;
      case "folded":
        return pass(graph, current.value ? yes : no);
      case "test":
        return decision(graph, current.op, current.left, current.right, yes, no);
      case "assign":
        return assignment(graph, current.slot, current.value, yes);
      case "not":
        [yes, no] = [no, yes];
        current = current.condition;
        break;
      case "and":
        yes = lower(graph, current.right, yes, no);
        current = current.left;
        break;
      case "or":
        no = lower(graph, current.right, yes, no);
        current = current.left;
        break;
    }
  return yes;
}

/** Something of each block, by its number. */
export type Table<T> = (T | undefined)[];

/** Room for something of each block made so far. */
export function blockTable<T>(graph: Graph): Table<T> {
  return new Array<T | undefined>(graph.next);
}

/** The blocks reached from a root, each before all that it leads to; a test's `no` side comes first where it can. */
export function ordered(graph: Graph, root: Block): Block[] {
  /** How many of a block's successors were entered; undefined: it was not entered itself. */
  const entered = blockTable<number>(graph);
  const order: Block[] = [];
  const stack = [root];
  entered[root.id] = 0;
  while (stack.length > 0) {
    const block = stack[stack.length - 1];
    // Depth first, `no` last: in the reversed finishing order it then stands right behind its test.
    const child = successor(block, entered[block.id]!++);
    if (child === undefined) {
      order.push(block);
      stack.pop();
    } else if (entered[child.id] === undefined) {
      entered[child.id] = 0;
      stack.push(child);
    }
  }
  return order.reverse();
}

function successor(block: Block, index: number): Block | undefined {
  if (block.kind === "test") return index === 0 ? block.yes : index === 1 ? block.no : undefined;
  return block.kind === "verdict" || index > 0 ? undefined : block.next;
}
