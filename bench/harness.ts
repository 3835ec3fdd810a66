// How every figure of this folder is taken: the cases of a comparison run in turn, round after round, in one
// process, so that what the machine does meanwhile hits all of them; told are the median and the spread.

/** One thing to measure. `run` does it once and returns the figure, in `unit`. */
export interface Case {
  readonly name: string;
  readonly unit: string;
  run(): number | Promise<number>;
}

/** What came of a case over all rounds. */
export interface Result {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  /** The tenth and the ninetieth percentile. */
  readonly low: number;
  readonly high: number;
  readonly rounds: number;
}

/** Runs the cases alternately, `rounds` times each after `warmUp` rounds that do not count. */
export async function measure(cases: readonly Case[], rounds: number, warmUp = 2): Promise<Result[]> {
  const figures = cases.map((): number[] => []);
  for (let round = -warmUp; round < rounds; round++)
    for (let i = 0; i < cases.length; i++) {
      // Each round starts with another case: none always comes after the same neighbour.
      const index = (((i + round) % cases.length) + cases.length) % cases.length;
      const figure = await cases[index].run();
      if (round >= 0) figures[index].push(figure);
    }
  return cases.map(({ name, unit }, index) => ({ name, unit, ...spreadOf(figures[index]), rounds }));
}

function spreadOf(figures: number[]): { median: number; low: number; high: number } {
  const sorted = [...figures].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))];
  return { median: at(0.5), low: at(0.1), high: at(0.9) };
}

function wantsJson(): boolean {
  return process.argv.includes("--json");
}

/** Prints results under a heading: a line each, or with --json an object each. */
export function report(heading: string, results: readonly Result[]): void {
  if (wantsJson()) {
    for (const result of results) console.log(JSON.stringify({ bench: heading, ...result }));
    return;
  }
  const width = Math.max(...results.map(({ name }) => name.length));
  console.log(`\n${heading} (Node ${process.version}; median, 10th to 90th percentile)`);
  for (const { name, unit, median, low, high } of results)
    console.log(`  ${name.padEnd(width)}  ${figure(median)} ${unit}  (${figure(low)} to ${figure(high)})`);
}

function figure(value: number): string {
  return (Math.abs(value) < 100 ? value.toFixed(2) : value.toFixed(0)).padStart(8);
}
