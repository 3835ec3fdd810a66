import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";

/** One comparison: ours and the peer's figures, taken in turn within one run, and their ratio pair by pair. */
export interface Row {
  readonly name: string;
  readonly ours: number;
  readonly peer: number;
  readonly unit: string;
  readonly ratio: { readonly median: number; readonly min: number; readonly max: number };
  readonly runs: number;
}

export interface Comparison {
  readonly name: string;
  readonly unit: string;
  /** What the peer is, for the table. */
  readonly against: string;
  /** Each measures once and returns its figure in `unit`. Both run once before anything counts. */
  readonly ours: () => number | Promise<number>;
  readonly peer: () => number | Promise<number>;
  /** What is hoped for, as "≥ 0.7": printed beside the ratio, never asserted. */
  readonly goal?: string;
}

/** A comparison of which each run gives several figures, a name each. */
export type EachComparison = Omit<Comparison, "name" | "ours" | "peer"> & {
  /** A goal for each name, where they are not the same. */
  readonly goals?: readonly (string | undefined)[];
} & {
  readonly [side in "ours" | "peer"]: () => readonly number[] | Promise<readonly number[]>;
};

export interface Bench {
  compare(comparison: Comparison): Promise<Row>;
  /** A row for each name. */
  compareEach(names: readonly string[], comparison: EachComparison): Promise<Row[]>;
  /** A figure without a peer: `peer` and `ratio` are 0 in the JSON. */
  note(name: string, value: number, unit: string): void;
  /** Writes --json where it was asked for. */
  finish(): void;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function figure(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function withGoal({ goal: _, ...rest }: EachComparison, goal: string | undefined): EachComparison {
  return goal === undefined ? rest : { ...rest, goal };
}

/** Starts a benchmark: reads --runs and --json, prints the machine. */
export function startBench(title: string): Bench {
  const { values } = parseArgs({
    options: { json: { type: "string" }, runs: { type: "string", default: "7" } },
    allowPositionals: true, // which parts, where a benchmark has several
  });
  const runs = Number(values.runs);
  if (!(Number.isInteger(runs) && runs >= 1))
    throw new RangeError(`--runs ${values.runs} is no whole number from 1 up`);
  const rows: Row[] = [];
  const [cpu] = cpus();
  console.log(
    `${title}: ${cpus().length} × ${cpu?.model ?? "?"}, Node ${process.version}, ${runs} runs each, in turn`,
  );

  async function compareEach(names: readonly string[], comparison: EachComparison): Promise<Row[]> {
    const { ours, peer } = comparison;
    await ours();
    await peer();
    const pairs: { ours: readonly number[]; peer: readonly number[] }[] = [];
    for (let run = 0; run < runs; run++) {
      // Which goes first changes from run to run, so that neither has the warmer machine.
      if (run % 2 === 0) pairs.push({ ours: await ours(), peer: await peer() });
      else {
        const theirs = await peer();
        pairs.push({ ours: await ours(), peer: theirs });
      }
    }
    return names.map((name, index) =>
      tell(
        name,
        comparison.goals === undefined ? comparison : withGoal(comparison, comparison.goals[index]),
        pairs.map((pair) => ({ ours: pair.ours[index], peer: pair.peer[index] })),
      ),
    );
  }

  function tell(
    name: string,
    { unit, against, goal }: EachComparison,
    figures: readonly { ours: number; peer: number }[],
  ): Row {
    const ratios = figures.map((pair) => pair.ours / pair.peer);
    const row: Row = {
      name,
      ours: median(figures.map((pair) => pair.ours)),
      peer: median(figures.map((pair) => pair.peer)),
      unit,
      ratio: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
      runs,
    };
    rows.push(row);
    const spread = `${figure(row.ratio.median)} × (${figure(row.ratio.min)} to ${figure(row.ratio.max)})`;
    console.log(
      `${name}: ${figure(row.ours)} ${unit}, ${against}: ${figure(row.peer)} ${unit}; ratio ${spread}${goal === undefined ? "" : `, goal ${goal}`}`,
    );
    return row;
  }

  return {
    compareEach,
    async compare({ name, ours, peer, ...rest }) {
      const each = { ...rest, ours: async () => [await ours()], peer: async () => [await peer()] };
      const [row] = await compareEach([name], each);
      return row;
    },
    note(name, value, unit) {
      rows.push({ name, ours: value, peer: 0, unit, ratio: { median: 0, min: 0, max: 0 }, runs: 1 });
      console.log(`${name}: ${figure(value)} ${unit}`);
    },
    finish() {
      if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
    },
  };
}
