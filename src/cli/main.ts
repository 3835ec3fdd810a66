#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { addCaptureCommand } from "./capture.js";
import { addConvertCommand } from "./convert.js";
import { addDemoCommand } from "./demo.js";
import { addDoctorCommand } from "./doctor.js";
import { runProgram } from "./failure.js";
import { addFilterCommand } from "./filter.js";
import { addForwardCommand } from "./forward.js";
import { addGatherCommand } from "./gather.js";
import { addGenerateCommand } from "./generate.js";
import { addInfoCommand } from "./info.js";
import { addLayoutCommand } from "./layout.js";
import { addPortsCommand } from "./ports.js";
import { addReplayCommand } from "./replay.js";
import { addScatterCommand } from "./scatter.js";
import { addTraceCommand } from "./trace.js";

const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
const program = new Command("millrace")
  .description(
    "Zero-copy packet I/O: capture, gather, filter, rewrite and send packets by moving descriptors.",
  )
  .version(version);

addGatherCommand(program);
addDemoCommand(program);
addScatterCommand(program);
addForwardCommand(program);
addPortsCommand(program);
addDoctorCommand(program);
addFilterCommand(program);
addCaptureCommand(program);
addReplayCommand(program);
addGenerateCommand(program);
addInfoCommand(program);
addConvertCommand(program);
addTraceCommand(program);
addLayoutCommand(program);

await runProgram(program, process.argv);
