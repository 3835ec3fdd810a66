// The reserved words of the filter language. A word stands for itself unless the table names the token it is read as.

const ALIASES: Readonly<Record<string, string>> = {
  ether: "link",
  ppp: "link",
  slip: "link",
  fddi: "link",
  tr: "link",
  wlan: "link",
  "es-is": "esis",
  "is-is": "isis",
  length: "len",
  "&&": "and",
  "||": "or",
  not: "!",
  "==": "=",
  direction: "dir",
  address1: "addr1",
  address2: "addr2",
  address3: "addr3",
  address4: "addr4",
  on: "ifname",
  ruleset: "rset",
  rnr: "rulenum",
  srnr: "subrulenum",
  lsu: "lssu",
};

/** Protocols that can qualify an address, a port or an access, and stand alone as a test. */
const PROTOCOLS =
  "link ip arp rarp sctp tcp udp icmp igmp igrp pim vrrp carp atalk aarp decnet lat sca moprc mopdl ip6 icmp6 ah esp iso esis isis l1 l2 iih lsp snp psnp csnp clnp stp ipx netbeui radio".split(
    " ",
  );
export const PROTOCOL_SET: ReadonlySet<string> = new Set(PROTOCOLS);

/** Words of link types and packet filters that millrace does not read; refused by name. */
const UNSUPPORTED =
  "type subtype dir addr1 addr2 addr3 addr4 ra ta lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect ifname rset rulenum subrulenum reason action fisu lssu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls".split(
    " ",
  );
export const UNSUPPORTED_SET: ReadonlySet<string> = new Set(UNSUPPORTED);

const OTHERS =
  "dst src host net mask port portrange proto protochain gateway less greater byte broadcast multicast and or inbound outbound len ifindex vlan mpls pppoed pppoes geneve vxlan llc".split(
    " ",
  );

/** Every reserved word and the token it is read as. */
export const WORDS: ReadonlyMap<string, string> = new Map([
  ...[...PROTOCOLS, ...UNSUPPORTED, ...OTHERS].map((word): [string, string] => [word, word]),
  ...Object.entries(ALIASES),
]);

/** The words that may be meant by one that is not known. */
export const SUPPORTED_WORDS: readonly string[] = [...WORDS]
  .filter(([, token]) => !UNSUPPORTED_SET.has(token))
  .map(([word]) => word);

/** Numbers that have a name: offsets, types and flags of ICMP, ICMPv6 and TCP. */
export const NUMBERS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    icmptype: 0,
    icmpcode: 1,
    "icmp-echoreply": 0,
    "icmp-unreach": 3,
    "icmp-sourcequench": 4,
    "icmp-redirect": 5,
    "icmp-echo": 8,
    "icmp-routeradvert": 9,
    "icmp-routersolicit": 10,
    "icmp-timxceed": 11,
    "icmp-paramprob": 12,
    "icmp-tstamp": 13,
    "icmp-tstampreply": 14,
    "icmp-ireq": 15,
    "icmp-ireqreply": 16,
    "icmp-maskreq": 17,
    "icmp-maskreply": 18,
    icmp6type: 0,
    icmp6code: 1,
    "icmp6-destinationunreach": 1,
    "icmp6-packettoobig": 2,
    "icmp6-timeexceeded": 3,
    "icmp6-parameterproblem": 4,
    "icmp6-echo": 128,
    "icmp6-echoreply": 129,
    "icmp6-multicastlistenerquery": 130,
    "icmp6-multicastlistenerreportv1": 131,
    "icmp6-multicastlistenerdone": 132,
    "icmp6-routersolicit": 133,
    "icmp6-routeradvert": 134,
    "icmp6-neighborsolicit": 135,
    "icmp6-neighboradvert": 136,
    "icmp6-redirect": 137,
    "icmp6-routerrenum": 138,
    "icmp6-nodeinformationquery": 139,
    "icmp6-nodeinformationresponse": 140,
    "icmp6-ineighbordiscoverysolicit": 141,
    "icmp6-ineighbordiscoveryadvert": 142,
    "icmp6-multicastlistenerreportv2": 143,
    "icmp6-homeagentdiscoveryrequest": 144,
    "icmp6-homeagentdiscoveryreply": 145,
    "icmp6-mobileprefixsolicit": 146,
    "icmp6-mobileprefixadvert": 147,
    "icmp6-certpathsolicit": 148,
    "icmp6-certpathadvert": 149,
    "icmp6-multicastrouteradvert": 151,
    "icmp6-multicastroutersolicit": 152,
    "icmp6-multicastrouterterm": 153,
    tcpflags: 13,
    "tcp-fin": 0x01,
    "tcp-syn": 0x02,
    "tcp-rst": 0x04,
    "tcp-push": 0x08,
    "tcp-ack": 0x10,
    "tcp-urg": 0x20,
    "tcp-ece": 0x40,
    "tcp-cwr": 0x80,
  }),
);
