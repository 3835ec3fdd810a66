/**
 * How a protocol cuts chunks into datagrams: data, written as JSON. Offsets count bytes from the start of the
 * datagram (the UDP payload). docs/layouts.md explains every part with an example; schema/layout.schema.json
 * is the same for editors. A field outside the datagram makes the datagram malformed: it is counted and
 * never placed.
 */
export interface Layout extends LayoutRules {
  /** A short lower-case word. */
  readonly name: string;
  /** One line for people. */
  readonly description?: string;
  /** Numbers that the user gives, by name, each with a line that says what it is. */
  readonly parameters?: Readonly<Record<string, string | Parameter>>;
  /** Which datagrams are of this layout at all; the others are counted as `other`. Default: all. */
  readonly when?: Match;
  /** Other forms of the same protocol: the first whose `when` holds replaces what it names. */
  readonly cases?: readonly LayoutCase[];
}

export interface Parameter {
  readonly description: string;
  /** Taken when the user gives no value. */
  readonly default?: number;
}

/** What a case can replace. `null` in a case takes away what the layout has. */
export interface LayoutRules {
  /** Which fields name the stream, beside the sender's address: together at most 16 bytes. */
  readonly stream?: readonly StreamField[] | null;
  /** Bytes before the data. */
  readonly header?: Length;
  /** Bytes of data. Default: up to the datagram's end. */
  readonly length?: (Field & DataLength) | null;
  /** Bytes at the end that are not data. */
  readonly trim?: Trim | null;
  /** A list of items of 8 bytes, each an id and a value, in which `{ "item": id }` finds its field. */
  readonly items?: Items | null;
  /** The field that names the chunk, and whether a missing number means a missing chunk. */
  readonly chunk?: (Field & ChunkIds) | null;
  /** Where in its chunk, or in its stream, a datagram's data belongs. Default: in order of arrival. */
  readonly place?: Place | null;
  /** Several slices of data in one datagram, each with a header of its own; instead of `place`. */
  readonly slices?: Slices | null;
  /** Bytes of the whole chunk. */
  readonly size?: Size | null;
  /** Which datagrams open their chunk: one that lacks such a datagram is not complete. Default: any may be the first. */
  readonly start?: Match | null;
  /** Which datagrams are the last of their chunk; `{ "changed": field }`: a new value ends the chunk before. */
  readonly end?: End | null;
  /** Which datagrams carry no data: leader, trailer, reports. */
  readonly control?: Match | null;
  /** Which datagrams say that the stream stops: control that belongs to no chunk. */
  readonly stop?: Match | null;
  /** Which datagrams say that their data is lost. */
  readonly lost?: Match | null;
  /** Fields that a chunk shows to its user. */
  readonly fields?: Readonly<Record<string, ShownField>> | null;
  /** What scatter writes beyond what reading needs, and the control datagrams it sends. */
  readonly scatter?: Scatter | null;
}

export type LayoutCase = LayoutRules & {
  /** What scatter's `variant` calls this case. */
  readonly name?: string;
  readonly when: Match;
};

/** 1 to 8 bytes somewhere in the datagram, the value of an item, or a fixed value. */
export type Field = BytesField | ItemField | FixedField;

export interface BytesField {
  readonly at: Length;
  /**
   * From where `at` counts: the datagram's start (default), the first byte of its data, or backwards from its
   * end, where `at` is the distance of the field's first byte from the end, 8 at most.
   */
  readonly from?: "start" | "data" | "end";
  readonly bytes: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;
  /** The bits that count, as a number or as "0x…"; the value is shifted down by the zeros below them. */
  readonly mask?: number | string;
  /** Byte order; big is the default. */
  readonly order?: "big" | "little";
  /** The value counts so many. */
  readonly times?: number;
}

export interface ItemField {
  /** The item's id. */
  readonly item: number;
  /** A datagram without this item is in order. */
  readonly optional?: boolean;
}

export interface FixedField {
  readonly value: number;
}

export type StreamField = Field & { readonly name?: string };

/** A field shown under a name; with `when`, only in datagrams for which that holds. */
export type ShownField = Field & { readonly when?: Match };

/** A number of bytes: fixed, or computed as `base` plus each term whose `when` holds. */
export type Length = number | { readonly base: number; readonly add: readonly Term[] };

/** `plus` + `field` × `times`. */
export interface Term {
  readonly field?: Field;
  readonly times?: number;
  readonly plus?: number;
  readonly when?: Match;
}

/** A condition. `is` is compared with the field's bits under its mask, where they stand, not shifted down. */
export type Match =
  | boolean
  | { readonly field: Field; readonly is: number | string | readonly (number | string)[] }
  | { readonly any: readonly Match[] }
  | { readonly all: readonly Match[] }
  | { readonly not: Match };

export type End =
  | Match
  | { readonly changed: Field }
  | { readonly any: readonly (Match | { readonly changed: Field })[] };

export interface DataLength {
  /** The field counts the header too. */
  readonly includes?: "header";
  /** Bytes to add to what the field says. */
  readonly plus?: number;
}

export interface ChunkIds {
  /** `counter`: ids follow one another, a missing one is a missing chunk. `opaque`: nothing follows from an id. */
  readonly ids: "counter" | "opaque";
  /** The counter's first value, 0 if absent. */
  readonly first?: number | string;
  /** The counter's last value before it starts again at `first`; the field's largest if absent. */
  readonly last?: number | string;
}

export type Place =
  | { readonly by: "sequence"; readonly field: Field }
  | {
      readonly by: "offset";
      readonly field: Field;
      /** Taken from the field before it is multiplied; a smaller value is malformed. */
      readonly base?: number;
      readonly unit: Unit;
    };

/**
 * What an offset counts: so many bytes (also a fraction, as 2.5), `"datagram"` (the data of a full datagram),
 * or the value of the parameter of that name.
 */
export type Unit = number | string;

export interface Slices {
  /** Where the first slice header starts. */
  readonly at: Length;
  /** Bytes of one slice header; the fields below count from its start. */
  readonly bytes: number;
  /** Whether another slice header follows. The data of all slices follows the last, in order. */
  readonly more: Match;
  /** Bytes of data in the slice. */
  readonly length: Field;
  /** The slice's place in the chunk: the sum of the fields, each times its unit. */
  readonly place: readonly { readonly field: Field; readonly unit: Unit }[];
  /** The most slices a datagram may have, 8 if absent; more is malformed. */
  readonly most?: number;
}

export interface Items {
  readonly at: number;
  readonly count: Field;
  readonly bytes: 8;
  /** Only items with one of these bits set carry their value themselves. */
  readonly when: string;
  /** The bits of an item that are its id, and those that are its value. */
  readonly id: string;
  readonly value: string;
}

export interface Trim {
  readonly when?: Match;
  readonly by: number | Field;
}

/** A field, or a product of fields over a number, in datagrams for which `when` holds. */
export type Size =
  | Field
  | { readonly product: readonly Field[]; readonly over?: number; readonly when?: Match };

/** What scatter writes into the bytes that reading does not decide. */
export interface Scatter {
  /** Fields of every data datagram. */
  readonly set?: readonly Setting[];
  /** Control datagrams before and after the data of each chunk, and when the stream stops. */
  readonly before?: readonly ControlForm[];
  readonly after?: readonly ControlForm[];
  readonly stop?: readonly ControlForm[];
  /** By how much a chunk's opaque id, or the field whose change ends it, grows from chunk to chunk. 1 if absent. */
  readonly step?: number;
}

export interface ControlForm {
  /** Bytes of the whole datagram. */
  readonly bytes: number;
  readonly set: readonly Setting[];
  /** Sent only if the user gave a value for the field of this name; or only if not. */
  readonly if?: string;
  readonly unless?: string;
}

/**
 * The field gets a number, a value that the user gave by name (0 if not), or what one of these words names:
 * `sequence` (of the datagram, in its stream), `datagram` (its number in the chunk, from 0), `datagrams` (of data, in the chunk), `size` (bytes of the
 * chunk), `chunk` (its id). `plus` is added, and the sum divided by `over`.
 */
export interface Setting {
  readonly field: Field;
  readonly to: number | string;
  readonly plus?: number;
  readonly over?: number;
}
