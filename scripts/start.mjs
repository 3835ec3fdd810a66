// `npm start`: sets up, then runs the main job on what every machine has.
import { run, setUp } from "./setup.mjs";

setUp();
run(process.execPath, ["dist/lib/millrace.js", "demo", ...process.argv.slice(2)]);
