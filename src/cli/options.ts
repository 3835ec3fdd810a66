import { InvalidArgumentError } from "commander";

/** A whole number of at least `least`, and at most `most`, as an option's parser. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} up` : `from ${least} to ${most}`;
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most))
      throw new InvalidArgumentError(`${text} is not a whole number ${range}`);
    return value;
  };
}

/** As long as a timer of Node's can be: beyond it goes off at once. */
const MOST_SECONDS = 2_147_483;

/** A number of seconds above 0. */
export function seconds(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= MOST_SECONDS))
    throw new InvalidArgumentError(`${text} is not a number of seconds, up to ${MOST_SECONDS}`);
  return value;
}

const FACTORS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Bytes: a whole number, or one with K, M or G (of 1024). */
export function bytes(text: string): number {
  const match = /^(\d+)([kmg]?)$/i.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * FACTORS[match[2].toLowerCase()];
  if (!(value > 0 && Number.isSafeInteger(value)))
    throw new InvalidArgumentError(`${text} is not a size in bytes (as 8192, 64K or 16M)`);
  return value;
}

/** One of the given words. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((one) => one === text);
    if (word === undefined) throw new InvalidArgumentError(`${text} is none of ${words.join(", ")}`);
    return word;
  };
}

/** `name=value`, repeated, with whole numbers as values. */
export function namedNumber(text: string, before: Record<string, number> = {}): Record<string, number> {
  const match = /^([A-Za-z][\w-]*)=(\d+(?:\.\d+)?)$/.exec(text);
  if (match === null) throw new InvalidArgumentError(`${text} is not of the form name=number`);
  return { ...before, [match[1]]: Number(match[2]) };
}

/** Gathers repeated options. */
export function repeated(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}
