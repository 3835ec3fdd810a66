import { createRequire } from "node:module";
import type { z } from "zod";
import { MillraceError } from "../errors.js";
import type { Layout } from "./types.js";

const require = createRequire(import.meta.url);

/** Loaded with the first layout that is read: zod's hundred files would be half of what most commands take to start. */
function schema(): typeof import("./schema.js") {
  return require("./schema.js");
}

/**
 * Checks the shape of what was read from a layout file. Throws ERR_LAYOUT whose message names the JSON path at
 * fault and what was expected there; `file`, where known, stands before it.
 */
export function parseLayout(json: unknown, file?: string): Layout {
  const result = schema().layoutSchema.safeParse(json);
  if (result.success) return json as Layout;
  const { path, expected } = deepest(result.error.issues, []);
  throw layoutError(path, `${expected}, got ${show(valueAt(json, path))}`, file);
}

/** ERR_LAYOUT at a JSON path. */
export function layoutError(path: readonly PropertyKey[], problem: string, file?: string): MillraceError {
  const where = pathText(path);
  return new MillraceError("ERR_LAYOUT", `${file === undefined ? "layout" : file}: ${where}: ${problem}`, {
    at: file === undefined ? { path: where } : { path: where, file },
    hint: "`millrace layout NAME` prints a layout to start from; schema/layout.schema.json describes them for editors",
  });
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return /^[A-Za-z$_][\w$]*$/.test(String(key))
      ? `${text}.${String(key)}`
      : `${text}[${JSON.stringify(key)}]`;
  }, "$");
}

type Issue = z.core.$ZodIssue;
interface Finding {
  readonly path: readonly PropertyKey[];
  readonly expected: string;
}

/** The fault that reaches deepest: of the forms a value may have, the one that fits furthest is what was meant. */
function deepest(issues: readonly Issue[], prefix: readonly PropertyKey[]): Finding {
  const found = issues.map((issue) => finding(issue, prefix));
  return found.reduce((best, next) => (next.path.length > best.path.length ? next : best));
}

function finding(issue: Issue, prefix: readonly PropertyKey[]): Finding {
  const path = [...prefix, ...issue.path];
  if (issue.code === "invalid_union") {
    const inner = issue.errors
      .filter((errors) => errors.length > 0 && !errors.some(isOfOtherKind))
      .map((errors) => deepest(errors, path));
    const deeper = inner.filter((candidate) => candidate.path.length > path.length);
    if (deeper.length > 0)
      return deeper.reduce((best, next) => (next.path.length > best.path.length ? next : best));
    if (inner.length === 1) return inner[0];
    return { path, expected: issue.message };
  }
  if (issue.code === "unrecognized_keys")
    return { path: [...path, issue.keys[0]], expected: "expected no such property" };
  if (issue.code === "invalid_type") return { path, expected: `expected ${articled(issue.expected)}` };
  if (issue.code === "invalid_value")
    return { path, expected: `expected ${issue.values.map((word) => JSON.stringify(word)).join(" or ")}` };
  if (issue.code === "too_small")
    return {
      path,
      expected: `expected ${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}`,
    };
  if (issue.code === "too_big") return { path, expected: `expected at most ${issue.maximum}` };
  return { path, expected: issue.message };
}

/** The value is of another kind altogether, or an object with other keys: this form was not meant. */
function isOfOtherKind(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === "invalid_type" || issue.code === "unrecognized_keys");
}

function articled(word: string): string {
  if (word === "int") return "a whole number";
  return /^[aeiou]/.test(word) ? `an ${word}` : `a ${word}`;
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    json,
  );
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
