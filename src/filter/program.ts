import type { ClassicProgram } from "./classic.js";
import { generate } from "./codegen.js";
import { filterError } from "./fault.js";
import {
  assignment,
  type Block,
  createGraph,
  evaluation,
  type Graph,
  lower,
  MOST_BLOCKS,
  verdict,
} from "./graph.js";
import { type Condition, constant } from "./ir.js";
import { dropPasses, threadJumps } from "./optimize.js";
import { parse } from "./parser.js";
import { createState, type FilterLinkType } from "./state.js";

export interface ProgramOptions {
  readonly linkType: FilterLinkType;
  /** What the program returns for a match: how many bytes of the packet to keep. */
  readonly snaplen: number;
  /** True: for packets read from a capture file, which carry nothing beside their bytes. */
  readonly fromFile?: boolean;
  /** True: for a live port, where the kernel or a card may have put the outermost VLAN tag beside the bytes. */
  readonly tagsBeside?: boolean;
  /** Mask of the local IPv4 network, for `ip broadcast`. */
  readonly netmask?: number;
}

/** Compiles an expression to classic BPF. Throws ERR_FILTER with the column of what is at fault. */
export function compileProgram(expression: string, options: ProgramOptions): ClassicProgram {
  const state = createState(
    expression,
    options.linkType,
    options.fromFile ?? false,
    options.netmask ?? 0,
    options.tagsBeside,
  );
  const condition = parse(state);
  const graph = createGraph();
  const accept = verdict(graph, true);
  const reject = verdict(graph, false);
  let root = condition === undefined ? accept : lower(graph, condition, accept, reject);
  if (graph.next > MOST_BLOCKS)
    throw filterError(
      expression,
      0,
      `this makes more than ${MOST_BLOCKS} tests`,
      "split it into several filters",
    );
  root = dropPasses(graph, threadJumps(graph, root));
  if (root === reject)
    throw filterError(
      expression,
      0,
      `no packet of link type ${options.linkType} can match`,
      "the tests contradict each other, or this link type does not carry what they ask for",
    );
  root = keepFirst(graph, condition, root);
  for (let slot = 0; slot < state.slots; slot++)
    root = assignment(graph, slot, constant(state.values, 0), root);
  return generate(graph, root, options.snaplen);
}

/**
 * The test that an expression begins with looks at the packet even where its outcome makes no difference, as in
 * libpcap: a packet too short for it is rejected.
 */
function keepFirst(graph: Graph, condition: Condition | undefined, root: Block): Block {
  let leaf = condition;
  while (leaf !== undefined && (leaf.kind === "and" || leaf.kind === "or" || leaf.kind === "not"))
    leaf = leaf.kind === "not" ? leaf.condition : leaf.left;
  if (leaf?.kind !== "test" || root.kind === "verdict") return root;
  if (root.kind === "test" && root.left === leaf.left && root.right === leaf.right) return root;
  return evaluation(graph, leaf.op, leaf.left, leaf.right, root, root);
}
