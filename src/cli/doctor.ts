import type { Command } from "commander";
import { type Finding, findAll } from "./doctor-checks.js";
import { print, printJson } from "./output.js";

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("tell what works here and what does not, why, and the command that mends it")
    .option("--json", "print one JSON array of findings")
    .addHelpText("after", "\nExample:\n  millrace doctor\n  sudo millrace doctor --json")
    .action(doctor);
}

const MARKS = { ok: "ok      ", limited: "limited ", no: "no      " } as const;

async function doctor(options: { readonly json?: boolean }): Promise<void> {
  const findings = findAll();
  await (options.json ? printJson(findings) : print(toText(findings)));
}

function toText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ about }) => about.length)) + 2;
  const lines = findings.flatMap(({ about, state, what, mend }) => [
    `${MARKS[state]}${about.padEnd(width)}${what}`,
    ...(mend === undefined ? [] : [`${" ".repeat(8 + width)}→ ${mend}`]),
  ]);
  return `${lines.join("\n")}\n`;
}
