// `npm run schema`: writes schema/layout.schema.json from the zod schema, after the layout language changed.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, run } from "./setup.mjs";

run(process.execPath, ["scripts/build.mjs"]);
const { layoutJsonSchema } = await import(join(root, "dist/src/layout/schema.js"));
mkdirSync(join(root, "schema"), { recursive: true });
writeFileSync(join(root, "schema/layout.schema.json"), `${JSON.stringify(layoutJsonSchema(), null, 2)}\n`);
run("node_modules/.bin/biome", ["format", "--write", "schema"]);
