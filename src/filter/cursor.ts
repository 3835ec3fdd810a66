// A walk over the tokens of an expression.
import { filterError, suggestion } from "./fault.js";
import { type Token, tokenize } from "./lexer.js";
import { usualMistake } from "./mistakes.js";
import type { FilterState } from "./state.js";
import { NUMBERS, SUPPORTED_WORDS } from "./words.js";

/** How deep parentheses, `not` and operators may be nested. */
const DEEPEST = 500;

export interface Parser {
  readonly state: FilterState;
  readonly tokens: readonly Token[];
  next: number;
  depth: number;
}

export function createParser(state: FilterState): Parser {
  return { state, tokens: tokenize(state.expression), next: 0, depth: 0 };
}

export function peek(parser: Parser, ahead = 0): Token {
  return parser.tokens[Math.min(parser.next + ahead, parser.tokens.length - 1)];
}

export function take(parser: Parser): Token {
  const token = peek(parser);
  parser.next++;
  return token;
}

export function expect(parser: Parser, type: string, what = `"${type}"`): Token {
  if (peek(parser).type !== type) throw unexpected(parser, what);
  return take(parser);
}

/** The error for what stands at the cursor; `otherwise` is the way out where none is better. */
export function unexpected(parser: Parser, wanted: string, otherwise?: string): Error {
  const { expression } = parser.state;
  const token = peek(parser);
  const found = token.type === "end" ? "the expression ends" : `"${token.text}" stands`;
  const near =
    token.type === "name" ? suggestion(token.text, [...SUPPORTED_WORDS, ...NUMBERS.keys()]) : undefined;
  const hint = usualMistake(expression, token.at) ?? near ?? otherwise;
  return filterError(expression, token.at, `${found} where ${wanted} was expected`, hint);
}

/** Reads one level deeper; refuses what is nested without measure. */
export function deeper<T>(parser: Parser, read: () => T): T {
  if (++parser.depth > DEEPEST)
    throw filterError(
      parser.state.expression,
      peek(parser).at,
      `more than ${DEEPEST} levels are nested here`,
      "write it with fewer parentheses",
    );
  const result = read();
  parser.depth--;
  return result;
}
