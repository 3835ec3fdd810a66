import { MillraceError } from "../errors.js";

/** The error for a fault in a filter expression. `at` is the offset of the faulty word, from 0. */
export function filterError(expression: string, at: number, message: string, hint?: string): MillraceError {
  const column = Math.min(at, expression.length) + 1;
  return new MillraceError("ERR_FILTER", `filter: column ${column}: ${clipped(message)}`, {
    at: { column },
    ...(hint === undefined ? {} : { hint: clipped(hint) }),
  });
}

/** A word of the expression's, quoted in a message, may be very long. */
function clipped(text: string): string {
  return text.replace(/[^\s"]{80,}/g, (word) => `${word.slice(0, 60)}…`);
}

/** How many insertions, deletions, replacements and swaps of neighbours turn one word into the other. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, before[j - 2] + 1);
      next.push(best);
    }
    before = row;
    row = next;
  }
  return row[b.length];
}

function letters(word: string): string {
  return [...word.toLowerCase()].sort().join("");
}

/** The known word closest to `word`, if one is close enough to have been meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > 40) return undefined;
  let best: string | undefined;
  let least = word.length < 4 ? 2 : 3;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= least) continue;
    const steps = distance(word.toLowerCase(), candidate);
    // Of short words almost any is near: what was meant begins alike, or has its letters in another order.
    if (word.length < 4 && word[0].toLowerCase() !== candidate[0] && letters(word) !== letters(candidate))
      continue;
    if (steps < least && steps < candidate.length) {
      best = candidate;
      least = steps;
    }
  }
  return best;
}

/** `did you mean "…"?`, or nothing when no known word is near. */
export function suggestion(word: string, known: Iterable<string>): string | undefined {
  const near = nearest(word, known);
  return near === undefined ? undefined : `did you mean "${near}"?`;
}
