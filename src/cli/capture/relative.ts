// Sequence numbers of TCP as tcpdump prints them: from the second packet of a connection on counted from its first.

/** What both ends count from. */
interface Bases {
  /** Of what the one that sent `first` sends, and of what the other does. */
  readonly first: string;
  readonly own: number;
  readonly other: number;
}

/** Connections that are remembered; beyond it the oldest is forgotten. */
const MOST = 65_536;
const SEGMENT = /(\S+) > (\S+): Flags \[([^\]]*)\](?:, seq (\d+)(?::(\d+))?)?(?:, ack (\d+))?/;

/** Rewrites the numbers in lines with absolute ones, in the order in which packets came. */
export function createRelative(): (line: string) => string {
  const connections = new Map<string, Bases>();

  function remember(key: string, bases: Bases): void {
    connections.delete(key);
    if (connections.size >= MOST) connections.delete(connections.keys().next().value as string);
    connections.set(key, bases);
  }

  return (line) => {
    const match = SEGMENT.exec(line);
    if (match === null) return line;
    const [head, from, to, flags, seq, end, ack] = match;
    if (ack === undefined) return line;
    const key = from < to ? `${from} ${to}` : `${to} ${from}`;
    const known = connections.get(key);
    if (known === undefined || flags.includes("S")) {
      if (seq !== undefined) remember(key, { first: from, own: Number(seq), other: Number(ack) - 1 });
      return line;
    }
    const ours = known.first === from;
    const since = (number: string, mine: boolean) =>
      String((Number(number) - (mine === ours ? known.own : known.other)) >>> 0);
    const text = [
      `${from} > ${to}: Flags [${flags}]`,
      ...(seq === undefined
        ? []
        : [`seq ${since(seq, true)}${end === undefined ? "" : `:${since(end, true)}`}`]),
      `ack ${since(ack, false)}`,
    ].join(", ");
    const rest = line
      .slice(match.index + head.length)
      .replace(/\{(\d+):(\d+)\}/g, (_, low, high) => `{${since(low, false)}:${since(high, false)}}`);
    return line.slice(0, match.index) + text + rest;
  };
}
