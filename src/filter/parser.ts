// The grammar of pcap-filter(7): `and` and `or` bind alike and from the left, `not` binds tightest, and an
// identifier after them may leave out the qualifiers of the one before.
import { type Arithmetic, isRelation, relation } from "./access.js";
import { broadcastTest, multicastTest } from "./casts.js";
import { createParser, deeper, expect, type Parser, peek, take, unexpected } from "./cursor.js";
import { filterError, suggestion } from "./fault.js";
import { and, type Condition, not, or } from "./ir.js";
import type { Token } from "./lexer.js";
import { usualMistake } from "./mistakes.js";
import { isProtocol } from "./network.js";
import { arithmeticFrom, arithmeticOperand, isOperator, numberOperand } from "./parse-arithmetic.js";
import { number, WORD_TESTS } from "./parse-words.js";
import { ipv4Test, ipv6Test, macTest, nameTest, netTest, numberTest, type Qualifier } from "./primitives.js";
import { type FilterState, fault } from "./state.js";
import { PROTOCOL_SET, SUPPORTED_WORDS, UNSUPPORTED_SET, WORDS } from "./words.js";

/**
 * What was read where several things may stand. A number may turn out to be an identifier or the start of an
 * arithmetic expression; only what follows it tells.
 */
type Read =
  | { readonly kind: "number"; readonly token: Token }
  | { readonly kind: "arithmetic"; readonly arithmetic: Arithmetic }
  | {
      readonly kind: "identifier";
      readonly condition: Condition;
      readonly q: Qualifier | undefined;
      readonly grouped: boolean;
    }
  | { readonly kind: "term"; readonly condition: Condition; readonly q: Qualifier | undefined };

const IDENTIFIERS: ReadonlySet<string> = new Set(["name", "ipv4", "ipv6", "mac", "arcnet"]);
/** What a test may start with that is no word. */
const STARTS: ReadonlySet<string> = new Set(["number", "(", "!", "ipv4", "ipv6", "mac"]);

/** Reads a whole expression; undefined: it is empty and holds for every packet. */
export function parse(state: FilterState): Condition | undefined {
  const parser = createParser(state);
  if (peek(parser).type === "end") return undefined;
  const read = sequence(parser, undefined);
  if (read.kind !== "term") throw unfinished(parser, read);
  const { type } = peek(parser);
  if (type === "end") return read.condition;
  throw unexpected(
    parser,
    `"and", "or" or the end`,
    STARTS.has(type) || WORDS.has(type) ? `put "and" or "or" before it` : undefined,
  );
}

/** The error for an identifier or a number that is not made into a test. */
function unfinished(parser: Parser, read: Read): Error {
  const token = read.kind === "number" ? read.token : parser.tokens[0];
  if (read.kind === "arithmetic" || read.kind === "number")
    return unexpected(
      parser,
      "a comparison (=, !=, <, <=, >, >=)",
      read.kind === "arithmetic"
        ? `say what it is compared with, as in "tcp[13] & 2 != 0"`
        : `put "host", "net", "port" or "proto" before the number`,
    );
  return filterError(
    parser.state.expression,
    token.at,
    `nothing says what "${token.text}" is`,
    wayOut(parser, token),
  );
}

function wayOut(parser: Parser, token: Token): string {
  const usual = usualMistake(parser.state.expression, token.at);
  return usual ?? suggestion(token.text, SUPPORTED_WORDS) ?? `put "host", "net", "port" or "proto" before it`;
}

/** Operands joined by `and` and `or`. */
function sequence(parser: Parser, q: Qualifier | undefined): Read {
  const start = peek(parser);
  const first = operand(parser, q);
  if (first.kind === "arithmetic") return first;
  if (first.kind === "number") {
    if (peek(parser).type !== "and" && peek(parser).type !== "or") return first;
    return identifiers(parser, identify(parser, first, q));
  }
  if (first.kind === "identifier") {
    if (first.grouped) throw unexpected(parser, "a test in place of doubled parentheses");
    if (q === undefined) throw unfinishedAt(parser, start);
    return identifiers(parser, first);
  }
  let { condition, q: last } = first;
  for (;;) {
    const { type } = peek(parser);
    if (type !== "and" && type !== "or") return { kind: "term", condition, q: last };
    take(parser);
    const read = identify(parser, operand(parser, last), last);
    condition = (type === "and" ? and : or)(condition, read.condition);
    last = read.q;
  }
}

function unfinishedAt(parser: Parser, token: Token): Error {
  parser.state.at = token.at;
  return fault(parser.state, `nothing says what "${token.text}" is`, wayOut(parser, token));
}

/** Identifiers that share the qualifiers before their parenthesis. */
function identifiers(parser: Parser, first: Read & { kind: "identifier" | "term" }): Read {
  let { condition, q } = first;
  for (;;) {
    const { type } = peek(parser);
    if (type !== "and" && type !== "or") return { kind: "identifier", condition, q, grouped: false };
    take(parser);
    const at = parser.next;
    const read = identify(parser, operand(parser, q), q);
    if (read.kind === "term") {
      parser.next = at;
      throw unexpected(parser, "another identifier");
    }
    condition = (type === "and" ? and : or)(condition, read.condition);
    q = read.q;
  }
}

/** Makes a number stand for what the qualifiers say; refuses an expression that was not compared. */
function identify(
  parser: Parser,
  read: Read,
  q: Qualifier | undefined,
): Read & { kind: "identifier" | "term" } {
  if (read.kind === "number") {
    parser.state.at = read.token.at;
    return {
      kind: "identifier",
      condition: numberTest(parser.state, read.token.value, q),
      q,
      grouped: false,
    };
  }
  if (read.kind === "arithmetic") throw unfinished(parser, read);
  return read;
}

/** One operand of `and` and `or`: a test, or an identifier under the qualifiers `q`. */
function operand(parser: Parser, q: Qualifier | undefined): Read {
  const { state } = parser;
  const token = peek(parser);
  state.at = token.at;
  if (token.type === "!") {
    take(parser);
    const read = identify(
      parser,
      deeper(parser, () => operand(parser, q)),
      q,
    );
    return read.kind === "identifier"
      ? { ...read, condition: not(read.condition), grouped: false }
      : { ...read, condition: not(read.condition) };
  }
  if (token.type === "(") {
    take(parser);
    const inner = deeper(parser, () => sequence(parser, q));
    expect(parser, ")", `")"`);
    if (inner.kind === "term") return { ...inner, q };
    if (inner.kind === "identifier") return { ...inner, grouped: true };
    return compared(parser, inner);
  }
  if (token.type === "number") {
    take(parser);
    return compared(parser, { kind: "number", token });
  }
  if (IDENTIFIERS.has(token.type)) {
    if (q === undefined) throw unfinishedAt(parser, token);
    return { kind: "identifier", condition: identifier(parser, q), q, grouped: false };
  }
  if (
    token.type === "-" ||
    token.type === "len" ||
    (PROTOCOL_SET.has(token.type) && peek(parser, 1).type === "[")
  )
    return compared(parser, { kind: "arithmetic", arithmetic: arithmeticOperand(parser) });
  return term(parser);
}

/** Goes on with the arithmetic that a number or an access begins, and with the comparison after it. */
function compared(parser: Parser, first: Read & { kind: "number" | "arithmetic" }): Read {
  const { type } = peek(parser);
  if (!isRelation(type) && !isOperator(type)) return first;
  const left = arithmeticFrom(parser, asArithmetic(parser, first));
  const operator = peek(parser);
  if (!isRelation(operator.type)) return { kind: "arithmetic", arithmetic: left };
  take(parser);
  const right = arithmeticFrom(parser, arithmeticOperand(parser));
  parser.state.at = operator.at;
  return { kind: "term", condition: relation(parser.state, operator.type, left, right), q: undefined };
}

function asArithmetic(parser: Parser, read: Read & { kind: "number" | "arithmetic" }): Arithmetic {
  return read.kind === "arithmetic" ? read.arithmetic : numberOperand(parser, read.token);
}

/** A test that begins with a word. */
function term(parser: Parser): Read {
  const { state } = parser;
  const plain = (condition: Condition): Read => ({ kind: "term", condition, q: undefined });
  const token = peek(parser);
  const protocol = PROTOCOL_SET.has(token.type) ? take(parser).type : "";
  const q = qualifiers(parser, protocol);
  if (q !== undefined) {
    const read = identify(parser, qualified(parser, q), q);
    return { kind: "term", condition: read.condition, q: read.q };
  }
  const word = peek(parser);
  if (word.type === "broadcast" || word.type === "multicast") {
    take(parser);
    return plain((word.type === "broadcast" ? broadcastTest : multicastTest)(state, protocol));
  }
  if (protocol !== "" && !UNSUPPORTED_SET.has(word.type)) return plain(isProtocol(state, protocol));
  const test = WORD_TESTS[word.type];
  if (test !== undefined) {
    take(parser);
    return plain(test(parser));
  }
  if (UNSUPPORTED_SET.has(word.type))
    throw filterError(
      state.expression,
      word.at,
      `"${word.text}" is not supported`,
      usualMistake(state.expression, word.at) ?? "it belongs to link types that millrace does not read",
    );
  throw unexpected(parser, "a test");
}

/** What stands after qualifiers: one identifier, or several in parentheses. */
function qualified(parser: Parser, q: Qualifier): Read {
  const start = parser.next;
  const token = peek(parser);
  if (token.type === "number") {
    take(parser);
    return { kind: "number", token };
  }
  const words = [...IDENTIFIERS, "!", "("];
  if (!words.includes(token.type)) throw unexpected(parser, FOLLOWING[q.kind]);
  const read = operand(parser, q);
  if (read.kind === "term") {
    parser.next = start;
    throw unexpected(parser, "an identifier");
  }
  return read;
}

/** What stands behind the last of the qualifiers. */
const FOLLOWING: Readonly<Record<Qualifier["kind"], string>> = {
  "": "an address, host, net, port or portrange",
  host: "an address or a name",
  net: "a network as 10.0.0.0/8",
  port: "a port as 53 or domain",
  portrange: "a range as 5000-5010",
  gateway: "the name of a host",
  proto: "a protocol as 6 or \\tcp",
  protochain: "a protocol as 6 or \\tcp",
};

const DIRECTIONS: ReadonlySet<string> = new Set(["src", "dst"]);
const KINDS: ReadonlySet<string> = new Set([
  "host",
  "net",
  "port",
  "portrange",
  "gateway",
  "proto",
  "protochain",
]);
const UNDIRECTED: ReadonlySet<string> = new Set(["gateway", "proto", "protochain"]);

function qualifiers(parser: Parser, protocol: string): Qualifier | undefined {
  let direction: Qualifier["direction"] = "";
  const first = peek(parser).type;
  if (DIRECTIONS.has(first)) {
    take(parser);
    direction = first as "src" | "dst";
    const joined = peek(parser).type;
    if (joined === "and" || joined === "or") {
      take(parser);
      expect(parser, first === "src" ? "dst" : "src");
      direction = joined;
    }
  }
  const kind = peek(parser);
  if (KINDS.has(kind.type)) {
    if (direction !== "" && UNDIRECTED.has(kind.type))
      throw unexpected(parser, "host, net, port or portrange");
    take(parser);
    return { protocol, direction, kind: kind.type as Qualifier["kind"] };
  }
  return direction === "" ? undefined : { protocol, direction, kind: "" };
}

function identifier(parser: Parser, q: Qualifier): Condition {
  const { state } = parser;
  const token = take(parser);
  state.at = token.at;
  switch (token.type) {
    case "ipv4":
      if (peek(parser).type === "/") {
        take(parser);
        return netTest(state, token.text, number(parser), q);
      }
      if (peek(parser).type === "mask") {
        take(parser);
        return netTest(state, token.text, expect(parser, "ipv4", "a mask as 255.255.255.0").text, q);
      }
      return ipv4Test(state, token.text, q);
    case "ipv6": {
      if (peek(parser).type !== "/") return ipv6Test(state, token.text, undefined, q);
      take(parser);
      return ipv6Test(state, token.text, number(parser), q);
    }
    case "mac":
      return macTest(state, token.text, q);
    case "arcnet":
      throw fault(state, "ARCnet addresses are not supported", "millrace reads no ARCnet captures");
    default:
      return nameTest(state, token.text.replace(/^\\/, ""), q);
  }
}
