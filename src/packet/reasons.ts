import { MillraceError } from "../errors.js";
import { VERDICT_ROUTE } from "../kernels/structs.js";

/** The last number, for whatever does not find a number of its own any more. */
const OTHER = VERDICT_ROUTE - 1;

/** Drop reasons by name and by the number that stands in a packet's verdict, 1 to 127. */
export interface ReasonTable {
  /** The number of a reason; a new one gets the next free number, and once 126 are taken all others share `other`. */
  number(name: string): number;
  /** The reason behind a verdict. */
  name(number: number): string;
}

export function createReasonTable(): ReasonTable {
  const numbers = new Map<string, number>();
  const names: string[] = ["pass"];
  return {
    number(name) {
      const known = numbers.get(name);
      if (known !== undefined) return known;
      if (!/^[a-z0-9][a-z0-9 _.-]{0,39}$/.test(name))
        throw new MillraceError("ERR_USAGE", `"${name}" is no drop reason`, {
          hint: "a reason is a short lower-case word, as ttl or bad-checksum",
        });
      const number = Math.min(names.length, OTHER);
      if (number < OTHER) names.push(name);
      numbers.set(name, number);
      return number;
    },
    name: (number) => (number === OTHER ? "other" : (names[number] ?? `reason ${number}`)),
  };
}
