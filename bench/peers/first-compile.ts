// Prints the milliseconds that the first filter of a process takes from its text to a WebAssembly module, V8's part in it.
import { performance } from "node:perf_hooks";
import { compileProgram } from "../../src/filter/program.js";
import { compileModule } from "../../src/filter/wasm.js";
import { compileModule as toMachineCode } from "../../src/wasm/encoder.js";

const started = performance.now();
toMachineCode(compileModule([compileProgram(process.argv[2], { linkType: "EN10MB", snaplen: 262_144 })]));
console.log(performance.now() - started);
