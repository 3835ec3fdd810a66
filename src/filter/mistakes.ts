// What people write who come from elsewhere, and how it is said here.
import { PORT_NAMES } from "./names.js";

/** What stands before the word at fault, the word with what follows, and the way out. */
const USUAL: readonly (readonly [before: RegExp, rest: RegExp, hint: string])[] = [
  [
    /$/,
    /^(ip|ipv6|tcp|udp|eth|icmp|frame|arp|vlan|http|dns)\.[a-z]/i,
    `those are Wireshark's display filters; here it is "src host 10.0.0.1", "tcp port 80"`,
  ],
  [/$/, /^(mac|eth)\b/i, `write "ether host 00:11:22:33:44:55"`],
  [/$/, /^ipv4\b/i, `did you mean "ip"?`],
  [/$/, /^from\b/i, `did you mean "src"?`],
  [/$/, /^to\b/i, `did you mean "dst"?`],
  [/$/, /^dns\b/i, `write "port domain"`],
  [/port\s*$/, /^[<>]/, `a range is written "portrange 1024-65535"`],
  [/port\s*$/, /^\d+-\d+/, `a range is written "portrange 5000-5010"`],
  [/port\s*$/, /^-\d/, "ports are numbers from 0 to 65535"],
  [/\d\s*$/, /^,/, `join them with "or", as in "port 80 or 443"`],
  [/(\.\d+|\])\s*$/, /^:\s*\d/, `write the port by itself, as in "host 10.0.0.1 and port 80"`],
  [/\bvlan\s*$/, /^(=|id\b)/, `write "vlan 100"`],
  [/\btcp\s*$/, /^(flags?|syn|ack|fin|rst|psh|push|urg)\b/, `write "tcp[tcpflags] & tcp-syn != 0"`],
  [
    /[=&|]\s*$/,
    /^(syn|ack|fin|rst|push|urg)\b/,
    `flags are named tcp-syn, tcp-ack, tcp-fin, tcp-rst, tcp-push and tcp-urg`,
  ],
  [/\bicmp\s*$/, /^[a-z]/, `write "icmp[icmptype] = icmp-echo"`],
  [/\barp\s*$/, /^(request|reply)\b/, `write "arp[6:2] = 1" for requests, 2 for replies`],
  [/\b(ip6?|arp|rarp)\s*$/, /^[0-9a-f]*[:.]/i, `put "host" or "net" before the address`],
  [
    /proto(chain)?\s*$/,
    /^(tcp|udp|icmp6?|igmp|sctp|ah|esp|ip6?|arp)\b/,
    'a protocol that is also a word has a \\ before it, as in "proto \\tcp"',
  ],
  [/\bnet\s*$/, /^[\d.]+\*/, `write "net 192.168.1" or "net 192.168.1.0/24"`],
  [/[^&]$/, /^&(?!&)/, `tests are joined with "and" or "&&"`],
  [/[^|]$/, /^\|(?!\|)/, `tests are joined with "or" or "||"`],
  [/[\w\])]\s*$/, /^\)/, `no "(" stands before it`],
  [
    /[\w\])]\s+$/,
    /^(\d|not\b|!|host\b|net\b|port\b|portrange\b|src\b|dst\b|tcp\b|udp\b|ip6?\b|\()/,
    `put "and" or "or" before it`,
  ],
  [/\]\s*[&|]\s*\w+\s*$/, /^$/, `say what it is compared with, as in "tcp[13] & 2 != 0"`],
];

/** The way out where the word at offset `at` is one of the usual mistakes. */
export function usualMistake(expression: string, at: number): string | undefined {
  // What is looked at is short, however long the expression: patterns see a few words.
  const before = expression.slice(Math.max(0, at - 40), at);
  const rest = expression.slice(at, at + 40);
  for (const [first, then, hint] of USUAL) if (then.test(rest) && first.test(before)) return hint;
  const word = /^[\w-]+/.exec(rest)?.[0];
  return word !== undefined && PORT_NAMES.has(word) && !/port\s*$/.test(before)
    ? `put "port" before it`
    : undefined;
}
