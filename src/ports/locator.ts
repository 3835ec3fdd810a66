import { existsSync, readdirSync } from "node:fs";
import { MillraceError } from "../errors.js";

/** A port's name, taken apart: `kind:place?key=value&…`. */
export interface Locator {
  /** As the user wrote it. */
  readonly text: string;
  readonly kind: string;
  /** What stands between the kind and the options: an interface, a path, `host:port`. */
  readonly place: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const KIND = /^([a-z][a-z0-9-]*):(\/\/)?(.*)$/s;

/**
 * Parses a locator. A bare interface name is `packet:`, a path or `-` a capture file; what could be both is
 * refused with both spellings. Throws ERR_LOCATOR.
 */
export function parseLocator(text: string): Locator {
  const match = KIND.exec(text);
  if (match !== null) return withParameters(text, match[1], match[3]);
  if (text === "")
    throw new MillraceError("ERR_LOCATOR", "a locator is empty", { hint: "try loop:a, eth0 or in.pcapng" });
  const bare = text.split("?")[0];
  if (bare === "-" || bare.includes("/")) return withParameters(text, "pcap", text);
  const isInterface = interfaceExists(bare);
  const isFile = existsSync(bare);
  if (isInterface && isFile)
    throw new MillraceError("ERR_LOCATOR", `"${bare}" is both an interface and a file`, {
      hint: `write packet:${bare} or ./${bare}`,
    });
  if (isInterface) return withParameters(text, "packet", text);
  if (isFile || /\.(pcap|pcapng|cap|dmp)(\.(gz|br|zst))?$/.test(bare))
    return withParameters(text, "pcap", text);
  return withParameters(text, "packet", text);
}

function withParameters(text: string, kind: string, rest: string): Locator {
  const question = rest.indexOf("?");
  const parameters = new Map<string, string>();
  if (question < 0) return { text, kind, place: rest, parameters };
  for (const part of rest.slice(question + 1).split("&")) {
    const equals = part.indexOf("=");
    const key = equals < 0 ? part : part.slice(0, equals);
    if (key === "" || parameters.has(key))
      throw new MillraceError(
        "ERR_LOCATOR",
        `"${text}": the option "${key}" is ${key === "" ? "empty" : "given twice"}`,
      );
    parameters.set(key, equals < 0 ? "" : unescapePercent(text, key, part.slice(equals + 1)));
  }
  return { text, kind, place: rest.slice(0, question), parameters };
}

/** %XX escapes; any other % stands for itself, so that loss=1% can be written as it is said. */
function unescapePercent(text: string, key: string, value: string): string {
  try {
    return decodeURIComponent(value.replace(/%(?![0-9a-fA-F]{2})/g, "%25"));
  } catch (cause) {
    throw new MillraceError("ERR_LOCATOR", `"${text}": the option "${key}" has an escape that is no UTF-8`, {
      cause,
    });
  }
}

function interfaceExists(name: string): boolean {
  try {
    return readdirSync("/sys/class/net").includes(name);
  } catch {
    return false; // no sysfs: nothing can be said, and opening will tell
  }
}

/** Refuses options that a port does not know, naming those it does. `rate=` paces any sink and is the engine's. */
export function checkParameters(locator: Locator, known: readonly string[]): void {
  for (const key of locator.parameters.keys())
    if (!known.includes(key) && key !== "rate")
      throw new MillraceError("ERR_LOCATOR", `"${locator.text}": ${locator.kind}: has no option "${key}"`, {
        hint: known.length === 0 ? `${locator.kind}: takes no options` : `it takes ${known.join(", ")}`,
      });
}

/** A whole number among a locator's options, between `least` and `most`; undefined where it is not given. */
export function numberParameter(
  locator: Locator,
  key: string,
  least: number,
  most: number,
): number | undefined {
  const text = locator.parameters.get(key);
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}": ${key}=${text} is not a whole number from ${least} to ${most}`,
    );
  return value;
}
