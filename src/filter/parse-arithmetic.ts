// The grammar of arithmetic: numbers, lengths, accesses and operators.
import { type Arithmetic, access, arithmetic } from "./access.js";
import { deeper, expect, type Parser, peek, take, unexpected } from "./cursor.js";
import { type BinaryOp, constant, negate, packetLength } from "./ir.js";
import type { Token } from "./lexer.js";
import { takeRegister } from "./state.js";
import { PROTOCOL_SET } from "./words.js";

const OPERATIONS: Readonly<Record<string, readonly [op: BinaryOp, precedence: number | undefined]>> = {
  "|": ["or", 1],
  "&": ["and", 2],
  "<<": ["shl", 3],
  ">>": ["shr", 3],
  "+": ["add", 4],
  "-": ["sub", 4],
  "*": ["mul", 5],
  "/": ["div", 5],
  // pcap's grammar gives these none: they bind whatever follows them.
  "%": ["mod", undefined],
  "^": ["xor", undefined],
};
const UNARY = 6;

export function isOperator(type: string): boolean {
  return Object.hasOwn(OPERATIONS, type);
}

/** A number as an operand. */
export function numberOperand(parser: Parser, token: Token): Arithmetic {
  takeRegister(parser.state);
  const { value } = token;
  return { value: constant(parser.state.values, value), needs: undefined, first: value, plain: true };
}

/** Operators after a left operand, by precedence. */
export function arithmeticFrom(parser: Parser, first: Arithmetic): Arithmetic {
  let left = first;
  while (isOperator(peek(parser).type)) left = operation(parser, left);
  return left;
}

function operation(parser: Parser, left: Arithmetic): Arithmetic {
  const token = take(parser);
  const [op, precedence] = OPERATIONS[token.type];
  const right = operandAfter(parser, precedence);
  parser.state.at = token.at;
  return arithmetic(parser.state, op, left, right);
}

/** The right operand of an operator: it takes in all that binds tighter. */
function operandAfter(parser: Parser, precedence: number | undefined): Arithmetic {
  let right = arithmeticOperand(parser);
  for (;;) {
    const next = OPERATIONS[peek(parser).type];
    if (next === undefined) return right;
    if (precedence !== undefined && next[1] !== undefined && next[1] <= precedence) return right;
    const left = right;
    right = deeper(parser, () => operation(parser, left));
  }
}

export function arithmeticOperand(parser: Parser): Arithmetic {
  const { state } = parser;
  const token = peek(parser);
  state.at = token.at;
  if (token.type === "number") {
    take(parser);
    return numberOperand(parser, token);
  }
  if (token.type === "len") {
    take(parser);
    takeRegister(state);
    return { value: packetLength(state.values), needs: undefined, first: undefined };
  }
  if (token.type === "-") {
    take(parser);
    const operand = deeper(parser, () => operandAfter(parser, UNARY));
    return { ...operand, value: negate(state.values, operand.value), plain: false };
  }
  if (token.type === "(") {
    take(parser);
    const inner = deeper(parser, () => arithmeticFrom(parser, arithmeticOperand(parser)));
    expect(parser, ")", `")"`);
    return inner;
  }
  if (PROTOCOL_SET.has(token.type) && peek(parser, 1).type === "[") {
    take(parser);
    take(parser);
    const index = deeper(parser, () => arithmeticFrom(parser, arithmeticOperand(parser)));
    let size = 1;
    if (peek(parser).type === ":") {
      take(parser);
      size = expect(parser, "number", "a size of 1, 2 or 4").value;
    }
    expect(parser, "]");
    state.at = token.at;
    return access(state, token.type, index, size);
  }
  throw unexpected(parser, "a number, len or an access as ip[0]");
}
