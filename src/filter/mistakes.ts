// What people write who come from elsewhere, and how it is said here.
import { PORT_NAMES, PROTOCOL_NAMES } from "./names.js";
import { WORDS } from "./words.js";

const RANGE = `a range is written "portrange 5000-5010"`;
const JOIN = `join them with "or", as in "port 80 or 443"`;
const FLAG = /^(syn|ack|fin|rst|psh|push|urg)\b/i;
const COMPARED = `bytes are compared with numbers, as in "ip[9] = 6" or "udp[8:4] = 0x61626364"`;

/** What stands before the word at fault, the word with what follows, and the way out. The first that fits is told. */
const USUAL: readonly (readonly [before: RegExp, rest: RegExp, hint: string])[] = [
  [
    /$/,
    /^(ip|ipv6|tcp|udp|eth|icmp|frame|arp|vlan|http|dns)\.[a-z]/i,
    `those are Wireshark's display filters; here it is "src host 10.0.0.1", "tcp port 80"`,
  ],
  [/$/, /^mac\b/i, `write "ether host 00:11:22:33:44:55"`],
  [/$/, /^eth\b/i, `did you mean "ether"?`],
  [/$/, /^(ipv4|inet)\b/i, `did you mean "ip"?`],
  [/$/, /^(ipv6|inet6)\b/i, `did you mean "ip6"?`],
  [/$/, /^from\b/i, `did you mean "src"?`],
  [/$/, /^to\b/i, `did you mean "dst"?`],
  [/$/, /^in\b/i, `did you mean "inbound"?`],
  [/$/, /^out\b/i, `did you mean "outbound"?`],
  [/$/, /^bcast\b/i, `did you mean "broadcast"?`],
  [/$/, /^mcast\b/i, `did you mean "multicast"?`],
  [/$/, /^(sub|network)/i, `did you mean "net"?`],
  [/$/, /^size\b/i, `did you mean "len"?`],
  [/$/, /^dns\b/i, `write "port domain"`],
  [/$/, /^dhcp\b/i, `write "port bootps or bootpc"`],
  [/$/, /^(tls|ssl|quic)\b/i, `write "port https"`],
  [/$/, /^lldp\b/i, `write "ether proto 0x88cc"`],
  [/$/, /^ethertype\b/i, `write "ether proto 0x88cc"`],
  [/\bether\s*$/, /^type\b/, `write "ether proto 0x88cc"`],
  [/$/, /^(payload|data)\b/i, `what follows a UDP header begins at "udp[8]"`],
  [/$/, /^(contains|matches)\b/i, COMPARED],
  [/$/, /^(ifname|on)\b/, `write "ifindex 3", with the number that "ip link" shows`],
  [/\bifindex\s*$/, /^[a-z]/i, `write "ifindex 3", with the number that "ip link" shows`],
  [/port\s*$/, /^range\b/, RANGE],
  [/port\s*$/, /^[<>]/, `a range is written "portrange 1024-65535"`],
  [/port\s*$/, /^\w+-\w+/, RANGE],
  [/portrange\s*\w+\s*$/, /^[:,.\w]/, RANGE],
  [/port\s*$/, /^-\d/, "ports are numbers from 0 to 65535"],
  [/\b(port|host|net)\s*$/, /^[[{]/, `put several in parentheses, as in "port (80 or 443)"`],
  [/\b(host|net|port|portrange|proto|src|dst)\s*$/, /^[=:]/, "leave it out: what is looked for comes next"],
  [/\bport\s+\S+$/, /^\/\s*(tcp|udp|sctp)\b/, `write "tcp port 80"`],
  [/\b(tcp|udp|sctp)\s*$/, /^[/:]?\s*\d/, `write "tcp port 80"`],
  [/\d\s*\/\s*$/, /^(tcp|udp|sctp)\b/, `write "tcp port 80"`],
  [/\[[^\]]*$/, /^,/, `a size follows a colon, as in "ip[0:2]"`],
  [/$/, /^[,;]/, JOIN],
  [/(\.\d+|\])\s*$/, /^:\s*\d/, `write the port by itself, as in "host 10.0.0.1 and port 80"`],
  [/[0-9a-f:]$/i, /^%\w/, "leave out the interface: packets do not name it"],
  [
    /\b(vlan|mpls|pppoes|geneve|vxlan)\s*$/,
    /^(=|id\b|vni\b|label\b|session\b)/,
    `the number stands right behind it, as in "vlan 100"`,
  ],
  [/\b(vlan|mpls)\s*\(?\d+\s+(or|and|\|\|)?\s*$/, /^(\d|or\b)/, `"vlan" and "mpls" take one number`],
  [/(^|\btcp)\s*$/, FLAG, `write "tcp[tcpflags] & tcp-syn != 0"`],
  [/\btcp\s*$/, /^flags?\b/, `write "tcp[tcpflags] & tcp-syn != 0"`],
  [/\btcp\[\s*$/, /^flags\b/, `did you mean "tcpflags"?`],
  [/[=&|]\s*\(?\s*$/, FLAG, `flags are named tcp-syn, tcp-ack, tcp-fin, tcp-rst, tcp-push and tcp-urg`],
  [/\]\s*$/, /^(&&|\|\|)\s*[\d(]/, `bits are told by one "&" or "|", as in "tcp[13] & 2 != 0"`],
  [/\bicmp\s*\[?\s*$/, /^[a-z]/, `write "icmp[icmptype] = icmp-echo"`],
  [/\bicmp6\s*\[?\s*$/, /^[a-z]/, `write "icmp6[icmp6type] = icmp6-echo"`],
  [/\barp\s*$/, /^(request|reply|who-has|is-at|op)\b/, `write "arp[6:2] = 1" for requests, 2 for replies`],
  [/\b(ip6?|arp|rarp|ether)\s*$/, /^addr(ess)?\b/, `did you mean "host"?`],
  [/\b(ip6?|arp|rarp)\s*$/, /^[0-9a-f]*[:.]/i, `put "host" or "net" before the address`],
  [/\b(src|dst)\s*$/, /^(ip6?|arp|ether|tcp|udp)\b/, `the protocol comes first, as in "ip src 10.0.0.1"`],
  [/\b(broad|multi)cast\s*$/, /^(ip6?|ether)\b/, `the protocol comes first, as in "ip broadcast"`],
  [
    /proto(chain)?\s*$/,
    /^(tcp|udp|icmp6?|igmp|sctp|ah|esp|ip6?|arp)\b/,
    'a protocol that is also a word has a \\ before it, as in "proto \\tcp"',
  ],
  [/\bnet\s*$/, /^[\d.]+\*/, `write "net 192.168.1" or "net 192.168.1.0/24"`],
  [/\b(less|greater)\s*$/, /^than\b/, "leave it out"],
  [/\blen(gth)?\s*$/, /^\d/, `write "len = 100", "less 100" or "greater 100"`],
  [/\d\s*$/, /^bytes?\b/, "leave it out: lengths are in bytes"],
  [/<\s*$/, /^>/, `write "!="`],
  [/=\s*$/, /^[<>]/, `write "<=" or ">="`],
  [/\]\s*[!<>=]+\s*$/, /^["'a-z]/i, COMPARED],
  [/\b(ip6?|arp|tcp|udp|icmp6?|ether)\s*$/, /^[({]\s*\d/, `write "ip[0]"`],
  [/[^&]$/, /^&(?!&)/, `tests are joined with "and" or "&&"`],
  [/[^|]$/, /^\|(?!\|)/, `tests are joined with "or" or "||"`],
  [/[\w\])]\s*$/, /^\)/, `no "(" stands before it`],
];

/** The way out where the word at offset `at` is one of the usual mistakes. */
export function usualMistake(expression: string, at: number): string | undefined {
  // What is looked at is short, however long the expression: patterns see a few words.
  const before = expression.slice(Math.max(0, at - 40), at);
  const rest = expression.slice(at, at + 40);
  for (const [first, then, hint] of USUAL) if (then.test(rest) && first.test(before)) return hint;
  const word = /^[\w-]+/.exec(rest)?.[0];
  if (word === undefined || /(port|proto)\s*$/.test(before)) return undefined;
  if (PORT_NAMES.has(word)) return `put "port" before it`;
  return PROTOCOL_NAMES.has(word) && !WORDS.has(word.toLowerCase()) ? `put "proto" before it` : undefined;
}
