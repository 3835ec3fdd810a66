import { filterError } from "./fault.js";
import { usualMistake } from "./mistakes.js";
import { NUMBERS, WORDS } from "./words.js";

/**
 * A token. `type` is a reserved word, an operator, or one of: `number`, `name`, `ipv4` (two to four numbers with
 * dots), `ipv6`, `mac`, `arcnet`, `end`.
 */
export interface Token {
  readonly type: string;
  readonly text: string;
  /** Offset in the expression, from 0. */
  readonly at: number;
  readonly value: number;
}

const N = "(?:0[xX][0-9A-Fa-f]+|[0-9]+)";
const B = "[0-9A-Fa-f]{1,2}";
const W = "[0-9A-Fa-f]{1,4}";

/** The forms of an IPv6 address: `groups` groups of which `::` may stand for the rest, ended by `last`. */
function ipv6Forms(): string[] {
  const dotted = `${N}\\.${N}\\.${N}\\.${N}`;
  const run = (count: number) => Array.from({ length: count }, () => W).join(":");
  const forms = [`${run(8)}`, `${run(6)}:${dotted}`];
  for (let before = 0; before <= 7; before++)
    for (let after = 0; before + after <= 7; after++) forms.push(`${run(before)}::${run(after)}`);
  for (let before = 0; before <= 5; before++)
    for (let after = 0; before + after <= 5; after++)
      forms.push(`${run(before)}::${after === 0 ? "" : `${run(after)}:`}${dotted}`);
  return forms;
}

// The longest match wins; of two that are as long, the earlier in this list.
const PATTERNS: readonly (readonly [type: string, patterns: readonly RegExp[]])[] = [
  ["arcnet", [sticky(`\\$${B}`)]],
  [
    "mac",
    [
      ...[":", "-", "\\."].map((between) => sticky(Array.from({ length: 6 }, () => B).join(between))),
      sticky("[0-9A-Fa-f]{4}\\.[0-9A-Fa-f]{4}\\.[0-9A-Fa-f]{4}"),
      sticky("[0-9A-Fa-f]{12}"),
    ],
  ],
  ["number", [sticky(N)]],
  ["ipv4", [sticky(`${N}(?:\\.${N}){1,3}`)]],
  ["ipv6", ipv6Forms().map(sticky)],
  ["bogus", [sticky(`${B}:+(?:${B}:+)+`)]],
  ["name", [sticky("[A-Za-z0-9](?:[-_.A-Za-z0-9]*[.A-Za-z0-9])?")]],
];

function sticky(pattern: string): RegExp {
  return new RegExp(pattern, "y");
}

function longest(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex - at : 0;
}

const SPACE = /[ \r\n\t]*/y;
const OPERATORS = /&&|\|\||[><!=]=|<<|>>|[+\-*/%:[\]!<>()&|^=]/y;
const ESCAPED = /\\[^ !()\n\t]+/y;
const IPV6_START = /[0-9A-Fa-f]{0,4}:/y;

/** Cuts an expression into tokens, ended by one of type `end`. Throws ERR_FILTER with the column at fault. */
export function tokenize(expression: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    at += longest(SPACE, expression, at);
    if (at >= expression.length) break;
    const token = nextToken(expression, at);
    tokens.push(token);
    at += token.text.length;
  }
  tokens.push({ type: "end", text: "", at: expression.length, value: 0 });
  return tokens;
}

function nextToken(expression: string, at: number): Token {
  const make = (type: string, length: number, value = 0): Token => ({
    type,
    text: expression.slice(at, at + length),
    at,
    value,
  });
  const escaped = longest(ESCAPED, expression, at);
  if (escaped > 0) return make("name", escaped);
  let type = "";
  let length = 0;
  const mayBeIpv6 = longest(IPV6_START, expression, at) > 0;
  for (const [kind, patterns] of PATTERNS) {
    if (kind === "ipv6" && !mayBeIpv6) continue;
    for (const pattern of patterns) {
      const found = longest(pattern, expression, at);
      if (found > length) [type, length] = [kind, found];
    }
  }
  const operator = longest(OPERATORS, expression, at);
  if (operator > length) {
    const text = expression.slice(at, at + operator);
    return make(WORDS.get(text) ?? text, operator);
  }
  if (length === 0) {
    const [found] = expression.slice(at);
    throw filterError(
      expression,
      at,
      `${JSON.stringify(found)} means nothing here`,
      usualMistake(expression, at) ?? hintFor(found),
    );
  }
  const text = expression.slice(at, at + length);
  if (type === "bogus")
    throw filterError(
      expression,
      at,
      `"${text}" is not an Ethernet address`,
      "write six bytes, as 00:11:22:33:44:55",
    );
  if (type === "number") return make("number", length, parseNumber(expression, text, at));
  if (type === "name") {
    const word = WORDS.get(text);
    if (word !== undefined) return make(word, length);
    const number = NUMBERS.get(text);
    if (number !== undefined) return make("number", length, number);
  }
  return make(type, length);
}

function hintFor(character: string): string | undefined {
  if (character === "'" || character === '"') return "an expression needs no quotes inside";
  if (character === "~") return "write x ^ 0xffffffff for the complement of x";
  return undefined;
}

function parseNumber(expression: string, text: string, at: number): number {
  const octal = text.length > 1 && text[0] === "0" && !/x/i.test(text);
  if (octal && /[89]/.test(text))
    throw filterError(
      expression,
      at,
      `"${text}" has a digit that is not octal`,
      "a leading 0 makes a number octal",
    );
  const value = octal ? Number.parseInt(text, 8) : Number(text);
  if (!(value <= 0xffffffff)) throw filterError(expression, at, `"${text}" does not fit into 32 bits`);
  return value;
}
