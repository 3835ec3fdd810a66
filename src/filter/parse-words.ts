// Tests that begin with a word of their own: lengths, directions, encapsulations.
import { expect, type Parser, peek, take } from "./cursor.js";
import { filterError } from "./fault.js";
import { binary, type Condition, constant, equals, not, packetLength, test } from "./ir.js";
import { interfaceIs, llcFrame, travels } from "./link.js";
import { loadFrom } from "./state.js";
import { geneve, mpls, pppoeDiscovery, pppoeSession, vlan, vxlan } from "./tunnels.js";

/** A number, in parentheses or not; undefined where none stands. */
function optionalNumber(parser: Parser): number | undefined {
  const { type } = peek(parser);
  if (type === "number") return take(parser).value;
  if (type !== "(") return undefined;
  let open = 0;
  while (peek(parser).type === "(") {
    take(parser);
    open++;
  }
  const { value } = expect(parser, "number", "a number");
  for (; open > 0; open--) expect(parser, ")", `")"`);
  return value;
}

export function number(parser: Parser): number {
  return expect(parser, "number", "a number").value;
}

export const WORD_TESTS: Readonly<Record<string, (parser: Parser) => Condition>> = {
  less: (parser) => not(lengthTest(parser, "gt")),
  greater: (parser) => lengthTest(parser, "ge"),
  byte: byteTest,
  inbound: ({ state }) => travels(state, false),
  outbound: ({ state }) => travels(state, true),
  ifindex: (parser) => interfaceIs(parser.state, number(parser)),
  vlan: (parser) => vlan(parser.state, optionalNumber(parser)),
  mpls: (parser) => mpls(parser.state, optionalNumber(parser)),
  pppoed: ({ state }) => pppoeDiscovery(state),
  pppoes: (parser) => pppoeSession(parser.state, optionalNumber(parser)),
  geneve: (parser) => geneve(parser.state, optionalNumber(parser)),
  vxlan: (parser) => vxlan(parser.state, optionalNumber(parser)),
  llc: (parser) => {
    const { type } = peek(parser);
    const named = type === "name" || type === "rulenum";
    return llcFrame(parser.state, named ? take(parser).text.replace(/^\\/, "") : undefined);
  },
};

function lengthTest(parser: Parser, op: "gt" | "ge"): Condition {
  const { values } = parser.state;
  return test(op, packetLength(values), constant(values, number(parser)));
}

/** `byte at operator value`. */
function byteTest(parser: Parser): Condition {
  const { state } = parser;
  const { values } = state;
  const byte = loadFrom(state, state.linkHeader, number(parser), 1);
  const operator = take(parser);
  const value = number(parser);
  const operand = constant(values, value);
  switch (operator.type) {
    case "=":
      return equals(values, byte, value);
    case "<":
      return not(test("ge", byte, operand));
    case ">":
      return test("gt", byte, operand);
    case "&":
      return test("set", byte, operand);
    case "|":
      return not(equals(values, binary(values, "or", byte, operand), 0));
    default:
      throw filterError(
        state.expression,
        operator.at,
        `"${operator.text}" stands where =, <, >, & or | was expected`,
      );
  }
}
