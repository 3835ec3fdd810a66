import type { Command } from "commander";
import { findLayout } from "../layout/find.js";
import { shippedLayouts } from "../layout/shipped/index.js";
import { print } from "./output.js";

export function addLayoutCommand(program: Command): void {
  program
    .command("layout")
    .description("print a layout as JSON, to start one of your own from; or check one")
    .argument("[name]", "a shipped layout, or a JSON file; without it the shipped ones are listed")
    .addHelpText(
      "after",
      "\nExample:\n  millrace layout gvsp > mine.json\n  millrace layout ./mine.json && millrace gather --layout ./mine.json …",
    )
    .action(printLayout);
}

async function printLayout(name: string | undefined): Promise<void> {
  const text =
    name === undefined
      ? Object.values(shippedLayouts)
          .map(({ name: word, description }) => `${word.padEnd(8)} ${description}`)
          .join("\n")
      : JSON.stringify(findLayout(name), null, 2);
  await print(`${text}\n`);
}
