// Header templates: `eth(dst=02:00:00:00:00:02)/vlan(id=7)/ipv4(dst=10.0.0.2)/udp(dport=5000)`, the headers that
// gather, scatter and generate put before a payload. Read from left to right, the outermost header first.
import { MillraceError } from "../errors.js";
import { parseAddress, parseMac } from "./address.js";
import { sumBytes } from "./checksum.js";
import { HEADER_WORDS, type HeaderWord } from "./template-words.js";
import type { LinkType } from "./types.js";

/** Where a length is to be written once the payload's is known: bytes from offset `from` to the packet's end. */
export interface LengthField {
  readonly at: number;
  readonly from: number;
}

/** A transport checksum to be made once the payload is there. */
export interface ChecksumField {
  readonly at: number;
  /** Where the covered bytes start. */
  readonly from: number;
  readonly protocol: number;
  /** Folded sum over the addresses; the length and the protocol come on top unless `pseudo` is false. */
  readonly addresses: number;
  readonly pseudo: boolean;
}

/** An IPv4 header checksum: offset of the header, its length, and its sum while length and checksum are 0. */
export interface HeaderChecksum {
  readonly at: number;
  readonly sum: number;
}

export interface Template {
  readonly text: string;
  readonly linkType: LinkType;
  /** All headers, one behind the other; computed fields are 0. */
  readonly bytes: Uint8Array;
  readonly lengths: readonly LengthField[];
  readonly headerChecksums: readonly HeaderChecksum[];
  /** Outermost first. */
  readonly checksums: readonly ChecksumField[];
  /** Several IP headers: cards and the edge know only the outermost, so every checksum is to be made at once. */
  readonly tunnel: boolean;
}

/** What the port knows and a template may leave out. */
export interface TemplateDefaults {
  readonly mac?: string;
  readonly ipv4?: string;
  readonly ipv6?: string;
}

interface Part {
  readonly word: HeaderWord;
  readonly name: string;
  readonly column: number;
  readonly values: Record<string, unknown>;
}

/** Reads a template. Throws ERR_TEMPLATE with the column at fault. */
export function parseTemplate(text: string, defaults: TemplateDefaults = {}): Template {
  const parts = readParts(text);
  const pieces: Uint8Array[] = [];
  const starts: number[] = [];
  let total = 0;
  parts.forEach((part, i) => {
    starts.push(total);
    pieces.push(encodePart(text, part, parts[i + 1], defaults));
    total += pieces[i].length;
  });
  const bytes = new Uint8Array(total);
  pieces.forEach((piece, i) => {
    bytes.set(piece, starts[i]);
  });
  const lengths: LengthField[] = [];
  const headerChecksums: HeaderChecksum[] = [];
  const checksums: ChecksumField[] = [];
  parts.forEach(({ word }, i) => {
    const at = starts[i];
    if (word.length !== undefined) lengths.push({ at: at + word.length.at, from: at + word.length.from });
    if (word.headerChecksum === true) headerChecksums.push({ at, sum: sumBytes(pieces[i]) });
    if (word.checksum !== undefined) {
      const ip = findAddresses(parts, starts, bytes, i);
      if (ip === undefined && word.checksum.pseudo)
        throw fault(text, parts[i].column, `${parts[i].name} needs ipv4 or ipv6 before it`);
      checksums.push({
        at: at + word.checksum.at,
        from: at,
        protocol: word.checksum.protocol,
        addresses: ip ?? 0,
        pseudo: word.checksum.pseudo,
      });
    }
  });
  const linkType = parts[0].word.linkType ?? "RAW";
  const tunnel = parts.filter(({ word }) => word.addresses !== undefined).length > 1;
  return { text, linkType, bytes, lengths, headerChecksums, checksums, tunnel };
}

/** Folded sum over the addresses of the nearest IP header before part `index`. */
function findAddresses(
  parts: readonly Part[],
  starts: readonly number[],
  bytes: Uint8Array,
  index: number,
): number | undefined {
  for (let i = index - 1; i >= 0; i--) {
    const { addresses } = parts[i].word;
    if (addresses !== undefined)
      return sumBytes(bytes.subarray(starts[i] + addresses.from, starts[i] + addresses.to));
  }
  return undefined;
}

function fault(text: string, column: number, message: string, hint?: string): MillraceError {
  return new MillraceError("ERR_TEMPLATE", `"${text}", column ${column}: ${message}`, {
    at: { column },
    hint: hint ?? "a template is header(field=value,…)/header(…), the outermost first",
  });
}

const PART = /([a-zA-Z][a-zA-Z0-9]*)(\(([^()]*)\))?(\/|$)/y;

function readParts(text: string): Part[] {
  const parts: Part[] = [];
  let at = 0;
  while (at < text.length || parts.length === 0) {
    PART.lastIndex = at;
    const match = PART.exec(text);
    if (match === null)
      throw fault(text, at + 1, text.length === at ? "a header is missing" : "no header can be read here");
    const [whole, name, brackets, inside, slash] = match;
    const word = HEADER_WORDS[name.toLowerCase()];
    if (word === undefined)
      throw fault(
        text,
        at + 1,
        `there is no header "${name}"`,
        `the headers are ${Object.keys(HEADER_WORDS).join(", ")}`,
      );
    const values = brackets === undefined ? {} : readValues(text, word, name, inside, at + name.length + 1);
    parts.push({ word, name, column: at + 1, values });
    at += whole.length;
    if (slash === "/" && at === text.length)
      throw fault(text, at + 1, "a header is missing behind the last /");
  }
  return parts;
}

function readValues(
  text: string,
  word: HeaderWord,
  header: string,
  inside: string,
  start: number,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  let at = start;
  for (const part of inside === "" ? [] : inside.split(",")) {
    const column = at + 1;
    at += part.length + 1;
    const equals = part.indexOf("=");
    const key = (equals < 0 ? part : part.slice(0, equals)).trim();
    const field = word.fields[key];
    if (field === undefined)
      throw fault(
        text,
        column,
        `${header} has no field "${key}"`,
        `it has ${Object.keys(word.fields).join(", ")}`,
      );
    const written = equals < 0 ? "" : part.slice(equals + 1).trim();
    const value = readValue(written, field.kind, field.most);
    if (value === undefined)
      throw fault(
        text,
        column + equals + 1,
        `"${written}" is no ${KINDS[field.kind]}${field.kind === "number" ? ` from 0 to ${field.most}` : ""}`,
      );
    if (field.name in values) throw fault(text, column, `"${key}" is given twice`);
    values[field.name] = value;
  }
  return values;
}

const KINDS = {
  number: "number",
  flag: "flag (0 or 1)",
  mac: "hardware address, as 02:00:00:00:00:02",
  ipv4: "IPv4 address",
  ipv6: "IPv6 address",
  hex: "even number of hexadecimal digits",
};

function readValue(text: string, kind: keyof typeof KINDS, most: number): unknown {
  switch (kind) {
    case "number": {
      const value = /^(\d+|0x[0-9a-fA-F]+)$/.test(text) ? Number(text) : Number.NaN;
      return value <= most ? value : undefined;
    }
    case "flag":
      return text === "1" || text === "true" ? true : text === "0" || text === "false" ? false : undefined;
    case "mac":
      return parseMac(text) === undefined ? undefined : text;
    case "ipv4":
      return parseAddress(text)?.length === 4 ? text : undefined;
    case "ipv6":
      return parseAddress(text)?.length === 16 ? text : undefined;
    case "hex":
      return /^([0-9a-fA-F]{2})+$/.test(text) ? Uint8Array.from(Buffer.from(text, "hex")) : undefined;
  }
}

function encodePart(
  text: string,
  part: Part,
  next: Part | undefined,
  defaults: TemplateDefaults,
): Uint8Array {
  const { word, values } = part;
  const filled: Record<string, unknown> = { ...values };
  const fill = (name: string | undefined, value: unknown) => {
    if (name !== undefined && value !== undefined && !(name in filled)) filled[name] = value;
  };
  fill(word.port?.mac, defaults.mac);
  fill(word.port?.ipv4, defaults.ipv4);
  fill(word.port?.ipv6, defaults.ipv6);
  if (word.next !== undefined && next !== undefined) {
    const number = next.word.found[word.next.space];
    if (number === undefined && word.next.space !== "tunnel" && !(word.next.field in filled))
      throw fault(text, next.column, `${next.name} cannot follow ${part.name}`);
    fill(word.next.field, number);
  }
  if (word.adjust !== undefined) word.adjust(filled, next?.word);
  return word.encode(filled);
}
