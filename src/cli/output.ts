import { parseLocator } from "../ports/locator.js";

let watched = false;

/**
 * Prints on standard output; resolves when there is room for more. When nobody reads it any more the process ends, as
 * SIGPIPE ends others.
 */
export async function print(text: string): Promise<void> {
  const { stdout } = process;
  if (!watched) stdout.on("error", endWithReader);
  watched = true;
  if (!stdout.write(text)) await new Promise((resolve) => stdout.once("drain", resolve));
}

function endWithReader(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
}

/** One object on one line: on standard output, or on standard error where what goes `to` a locator stands there. */
export async function printJson(value: unknown, to?: string): Promise<void> {
  const line = `${JSON.stringify(value)}\n`;
  if (to !== undefined && parseLocator(to).place === "-") process.stderr.write(line);
  else await print(line);
}

/** Rows in columns, the first from the left, the others from the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
