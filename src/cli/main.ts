#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { addCaptureCommand } from "./capture.js";
import { runProgram } from "./failure.js";

/** Every command, one line each, by its name and its file. Only the one that is called is loaded, beside the first. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  gather: async () => (await import("./gather.js")).addGatherCommand,
  scatter: async () => (await import("./scatter.js")).addScatterCommand,
  capture: async () => addCaptureCommand,
  forward: async () => (await import("./forward.js")).addForwardCommand,
  generate: async () => (await import("./generate.js")).addGenerateCommand,
  replay: async () => (await import("./replay.js")).addReplayCommand,
  info: async () => (await import("./info.js")).addInfoCommand,
  convert: async () => (await import("./convert.js")).addConvertCommand,
  filter: async () => (await import("./filter.js")).addFilterCommand,
  layout: async () => (await import("./layout.js")).addLayoutCommand,
  ports: async () => (await import("./ports.js")).addPortsCommand,
  doctor: async () => (await import("./doctor.js")).addDoctorCommand,
  trace: async () => (await import("./trace.js")).addTraceCommand,
  demo: async () => (await import("./demo.js")).addDemoCommand,
};

const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
const program = new Command("millrace")
  .description(
    "zero-copy packet I/O: capture, gather, filter, rewrite and send packets by moving descriptors",
  )
  .version(version);

const called = process.argv[2] ?? "";
const all = ["--version", "-V"].includes(called) ? [] : Object.keys(COMMANDS);
const wanted = Object.hasOwn(COMMANDS, called) ? [called] : all;
for (const name of wanted) (await COMMANDS[name]())(program);

await runProgram(program, process.argv);
