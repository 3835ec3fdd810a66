import { readFileSync } from "node:fs";
import { MillraceError } from "../errors.js";
import { parseLayout } from "./parse.js";
import { resolveLayout } from "./resolve.js";
import { shippedLayouts } from "./shipped/index.js";
import type { Layout } from "./types.js";

/**
 * The layout that a user names: a shipped one, or a JSON file by its path. Throws ERR_LAYOUT: of a file, naming
 * the JSON path at fault.
 */
export function findLayout(nameOrFile: string): Layout {
  const shipped = Object.hasOwn(shippedLayouts, nameOrFile) ? shippedLayouts[nameOrFile] : undefined;
  if (shipped !== undefined) return shipped;
  if (!/[./]/.test(nameOrFile))
    throw new MillraceError("ERR_LAYOUT", `no layout is named ${nameOrFile}`, {
      hint: `shipped are ${Object.keys(shippedLayouts).join(", ")}; a file of your own is given as ./${nameOrFile}.json`,
    });
  return checkFile(parseLayout(readJson(nameOrFile), nameOrFile), nameOrFile);
}

/** Checks all that does not depend on the values of its parameters, so that what is wrong is said of the file. */
function checkFile(layout: Layout, file: string): Layout {
  const parameters = Object.fromEntries(Object.keys(layout.parameters ?? {}).map((name) => [name, 1]));
  try {
    resolveLayout(layout, parameters);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    throw new MillraceError(error.code, error.message.replace(/^layout: /, `${file}: `), {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      at: { ...error.at, file },
      cause: error,
    });
  }
  return layout;
}

function readJson(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new MillraceError("ERR_LAYOUT", `layout file ${file} cannot be read: ${(cause as Error).message}`, {
      at: { file },
      cause,
    });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MillraceError("ERR_LAYOUT", `${file}: expected JSON: ${(cause as Error).message}`, {
      at: { file },
      cause,
      hint: "JSON has no comments and no commas before a closing bracket",
    });
  }
}
