import { readFileSync } from "node:fs";
import { MillraceError } from "../errors.js";
import { parseLayout } from "./parse.js";
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
  return parseLayout(readJson(nameOrFile), nameOrFile);
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
