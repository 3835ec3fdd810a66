// Filter expressions at random, from the whole of the grammar.

/** A generator of numbers in [0, 1) that gives the same ones for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Random = () => number;

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)];
}

function words(text: string): string[] {
  return text.split(" ");
}

const HOSTS = words("10.0.0.1 192.168.1.1 127.0.0.1 192.1.2.23 0x0a000001 224.0.0.5 192.168.0.11 10.1.1.1");
const NETS = words("10 192.168 10.0.0.0/8 192.1.2.0/24 224.0.0.0/4 0.0.0.0/0 192.168.1.0/30 10.1.1.0/31");
const HOSTS6 = words("::1 fe80::1 2001:db8::1 ff02::5 fe80::d6ca:6dff:fe66:cf60 ::ffff:1.2.3.4");
const NETS6 = words("fe80::/10 ff00::/8 2001:db8::/32 ::/0 2000::/3 ff02::5/128 2001:db8:1:2::/65");
const MACS = words(
  "ff:ff:ff:ff:ff:ff 00:11:22:33:44:55 01-80-c2-00-00-00 0180.c200.000e 00.00.00.00.00.00 33330000005a",
);
const PORTS = words("53 80 domain http 443 500 isakmp 179 6081 0 65535 ntp bgp \\520 49152 ftp-data");
const RANGES = words("1-1023 500-179 domain-http 67-bootpc 6000 22-22");
const PROTOCOLS = words("\\tcp \\udp \\icmp 6 17 1 50 51 89 \\ospf 112 58 \\ipv6-icmp 0 255 \\gre 44");
const ETHER_PROTOCOLS = words(
  "\\ip \\arp 0x86dd 0x800 \\stp \\iso \\ipx \\aarp \\atalk 0x88cc 0x42 1500 1501 \\netbeui 6 loopback",
);
const ABBREVIATIONS = words(
  "ip ip6 arp rarp tcp udp icmp icmp6 igmp igrp pim vrrp carp sctp ah esp atalk aarp decnet lat sca moprc mopdl iso stp ipx netbeui esis isis clnp l1 l2 iih lsp snp csnp psnp",
);
const NAMED = words(
  "tcpflags tcp-syn tcp-ack icmptype icmp-echo icmp6type icmp6-echo 0 1 2 5 13 20 60 0x1fff 255",
);

function identifiers(random: Random, choices: readonly string[]): string {
  if (random() < 0.75) return pick(random, choices);
  const count = 2 + Math.floor(random() * 2);
  const list = Array.from({ length: count }, () => (random() < 0.15 ? "not " : "") + pick(random, choices));
  return `(${list.join(pick(random, [" or ", " and ", " || "]))})`;
}

function direction(random: Random): string {
  return pick(random, ["", "", "", "src ", "dst ", "src or dst ", "src and dst ", "dst or src "]);
}

function value(random: Random, depth: number): string {
  const roll = random();
  if (roll < 0.28 || depth <= 0) return pick(random, NAMED);
  if (roll < 0.34) return "len";
  if (roll < 0.7) {
    const protocol = pick(
      random,
      words("ip ip6 tcp udp icmp icmp6 ether arp link sctp igmp pim vrrp decnet rarp"),
    );
    const index = random() < 0.7 ? pick(random, NAMED) : value(random, depth - 1);
    return `${protocol}[${index}${pick(random, ["", "", ":1", ":2", ":4"])}]`;
  }
  if (roll < 0.74) return `-${value(random, depth - 1)}`;
  const operator = pick(random, words("+ - * & | ^ << >> / % &"));
  const combined = `${value(random, depth - 1)} ${operator} ${value(random, depth - 1)}`;
  return random() < 0.4 ? `(${combined})` : combined;
}

function primitive(random: Random): string {
  const n = (most: number) => Math.floor(random() * most);
  switch (n(24)) {
    case 0:
    case 1:
      return pick(random, ABBREVIATIONS);
    case 2:
      return pick(random, words("ip ip6 arp tcp udp icmp"));
    case 3:
      return `${pick(random, ["", "ip ", "arp ", "rarp "])}${direction(random)}host ${identifiers(random, HOSTS)}`;
    case 4:
      return `${pick(random, ["", "ip6 "])}${direction(random)}host ${identifiers(random, HOSTS6)}`;
    case 5:
      return `${pick(random, ["", "ip ", "arp "])}${direction(random)}net ${identifiers(random, NETS)}`;
    case 6:
      return `${pick(random, ["", "ip6 "])}${direction(random)}net ${identifiers(random, NETS6)}`;
    case 7:
      return `ether ${direction(random)}host ${identifiers(random, MACS)}`;
    case 8:
    case 9:
      return `${pick(random, ["", "tcp ", "udp ", "sctp "])}${direction(random)}port ${identifiers(random, PORTS)}`;
    case 10:
      return `${pick(random, ["", "tcp ", "udp "])}${direction(random)}portrange ${pick(random, RANGES)}`;
    case 11:
      return `${pick(random, ["", "ip ", "ip6 "])}proto ${identifiers(random, PROTOCOLS)}`;
    case 12:
      return `ether proto ${identifiers(random, ETHER_PROTOCOLS)}`;
    case 13:
      return pick(random, [
        "broadcast",
        "multicast",
        "ip multicast",
        "ip6 multicast",
        "ether broadcast",
        "ip broadcast",
      ]);
    case 14:
      return `${pick(random, ["less", "greater"])} ${pick(random, words("60 64 100 1000 1500"))}`;
    case 15:
    case 16:
    case 17:
    case 18: {
      const relation = pick(random, words("= == != < > <= >="));
      return `${value(random, 2)} ${relation} ${value(random, 1)}`;
    }
    case 19:
      return pick(random, ["llc", "llc i", "llc u", "llc s", "llc rr", "llc xid", "llc ui"]);
    case 20:
      return pick(random, ["vlan", "vlan 1", "vlan 100", "mpls", "mpls 16", "pppoed", "pppoes", "pppoes 1"]);
    case 21:
      return `src ${pick(random, HOSTS)}`;
    case 22:
      return `iso proto ${pick(random, ["\\esis", "\\isis", "\\clnp", "0x81"])}`;
    default:
      return pick(random, [
        "inbound",
        "outbound",
        "ifindex 3",
        `byte ${n(64)} ${pick(random, ["=", "<", ">"])} ${n(256)}`,
      ]);
  }
}

/** One expression of up to about `size` primitives. */
export function expression(random: Random, size: number): string {
  let text = "";
  let last: readonly string[] | undefined;
  const count = 1 + Math.floor(random() * size);
  for (let i = 0; i < count; i++) {
    if (i > 0) text += pick(random, [" and ", " or ", " && ", " || ", " and "]);
    if (random() < 0.18) text += pick(random, ["not ", "! "]);
    if (last !== undefined && random() < 0.2) text += pick(random, last);
    else if (random() < 0.18 && size > 1) {
      text += `(${expression(random, size - 1)})`;
      last = undefined;
    } else {
      const made = primitive(random);
      text += made;
      last = abbreviated(made);
    }
  }
  return text;
}

/** What may follow a primitive with its qualifiers left out. */
function abbreviated(made: string): readonly string[] | undefined {
  if (made.includes("[")) return undefined;
  if (/portrange /.test(made)) return RANGES;
  if (/port /.test(made)) return PORTS;
  if (/ether proto /.test(made)) return ETHER_PROTOCOLS;
  if (/^(ip6? )?proto /.test(made)) return PROTOCOLS;
  if (/ether .*host /.test(made)) return MACS;
  if (/host .*:/.test(made)) return HOSTS6;
  if (/host /.test(made)) return HOSTS;
  if (/net .*:/.test(made)) return NETS6;
  if (/net /.test(made)) return NETS;
  return undefined;
}

const HEADERS = words(
  "ip ip6 tcp udp icmp icmp6 ether arp link sctp igmp pim vrrp carp rarp decnet lat sca mopdl atalk",
);
const CONSTANTS = words(
  "0 1 2 3 4 7 8 9 12 13 14 16 20 31 32 33 255 256 0xffff 0x7fffffff 0x80000000 0xffffffff tcpflags icmptype tcp-syn 1500",
);
/** What shifts the place of all that follows; some leave a parenthesis open. */
const ENTRANCES = [
  ...["", "", "ip and ", "not ip or ", "tcp and not (", "tcp or (", "(ip or ip6) and "],
  ...["vlan and ", "vlan 1 and ", "not vlan and ", "vlan or ", "not (vlan and ", "vlan and vlan and "],
  ...["mpls and ", "mpls 16 or ", "mpls and mpls and ", "vlan and mpls and "],
  ...["pppoes and ", "pppoes 1 and ", "pppoes or ", "pppoes and mpls and "],
];

/** Arithmetic of any shape. What divides is a number: a packet whose bytes divide by 0 is rejected, where that is asked. */
function deepValue(random: Random, depth: number): string {
  const roll = random();
  if (depth <= 0 || roll < 0.2) return pick(random, CONSTANTS);
  if (roll < 0.27) return "len";
  if (roll < 0.6) {
    const index = random() < 0.5 ? pick(random, NAMED) : deepValue(random, depth - 1);
    return `${pick(random, HEADERS)}[${index}${pick(random, ["", "", ":1", ":2", ":4"])}]`;
  }
  if (roll < 0.66) return `- ${deepValue(random, depth - 1)}`;
  const operator = pick(random, words("+ - * & | ^ << >> / %"));
  const right = /[/%]/.test(operator)
    ? pick(random, words("1 2 3 255 0x10000"))
    : deepValue(random, depth - 1);
  const combined = `${deepValue(random, depth - 1)} ${operator} ${right}`;
  return random() < 0.5 ? `(${combined})` : combined;
}

/** One expression in which headers, negations and deep arithmetic meet. */
export function hardExpression(random: Random): string {
  const entrance = pick(random, ENTRANCES);
  const count = 1 + Math.floor(random() * 4);
  const tests = Array.from({ length: count }, () => {
    const negation = pick(random, ["", "", "", "not ", "not not "]);
    if (random() < 0.5)
      return negation + (random() < 0.4 ? `(${expression(random, 3)})` : expression(random, 1));
    const depth = 1 + Math.floor(random() * 3);
    const relation = pick(random, words("= == != < > <= >="));
    const compared = `${deepValue(random, depth)} ${relation} ${deepValue(random, depth)}`;
    return negation + (random() < 0.3 ? `(${compared})` : compared);
  });
  const closing = ")".repeat(entrance.split("(").length - entrance.split(")").length);
  return `${entrance}${tests.reduce((text, test) => `${text}${pick(random, [" and ", " or "])}${test}`)}${closing}`;
}
