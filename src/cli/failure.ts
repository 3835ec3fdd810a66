import { type Command, CommanderError } from "commander";
import { MillraceError } from "../errors.js";

/** Exit statuses: a request that makes no sense, and one that could not be fulfilled. */
export const EXIT_USAGE = 2;
export const EXIT_FAILURE = 1;

const USAGE_CODES = new Set(["ERR_USAGE", "ERR_LOCATOR", "ERR_FILTER", "ERR_LAYOUT", "ERR_TEMPLATE"]);

/** Runs a command line to its end and sets the exit status: 0, 1 for a failure, 2 for wrong usage. */
export async function runProgram(program: Command, argv: readonly string[]): Promise<void> {
  for (const command of [program, ...program.commands])
    command.exitOverride().showSuggestionAfterError().showHelpAfterError("(--help tells more)");
  try {
    await program.parseAsync(argv);
  } catch (error) {
    process.exitCode = tell(error);
  }
}

/** Prints one clear line about an error, and the way out where it is known; returns the exit status. */
export function tell(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE; // it has printed its own
  if (error instanceof MillraceError) {
    process.stderr.write(`millrace: ${error.message}\n`);
    if (error.hint !== undefined) process.stderr.write(`millrace: ${error.hint}\n`);
    return USAGE_CODES.has(error.code) ? EXIT_USAGE : EXIT_FAILURE;
  }
  throw error;
}
