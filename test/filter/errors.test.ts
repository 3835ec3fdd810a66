import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../src/errors.js";
import { compileFilter, type FilterOptions } from "../../src/filter/compile.js";

function refusal(text: string, options: FilterOptions = {}): MillraceError {
  try {
    compileFilter(text, options);
  } catch (error) {
    assert.ok(error instanceof MillraceError, String(error));
    return error;
  }
  return assert.fail(`"${text}" was accepted`);
}

test("a mistake is named by its column, what was expected, and the nearest word", () => {
  const cases: readonly (readonly [
    text: string,
    column: number,
    message: RegExp,
    hint: RegExp | undefined,
  ])[] = [
    ["tpc port 80", 1, /nothing says what "tpc" is/, /did you mean "tcp"\?/],
    ["tcp prot 80", 5, /"prot" stands where .* was expected/, /did you mean "port"\?/],
    ["udp port domian", 10, /no port is called "domian"/, /did you mean "domain"\?/],
    ["host 10.0.0.300", 6, /"10\.0\.0\.300" is no IPv4 address/, /0 to 255/],
    ["net 10.0.0.1/24", 5, /bits outside its mask/, /10\.0\.0\.0/],
    ["tcp and", 8, /the expression ends where a test was expected/, undefined],
    ["(tcp", 5, /the expression ends where "\)" was expected/, undefined],
    ["ip[0", 5, /the expression ends where "\]" was expected/, undefined],
    ["ip[0:3] = 1", 1, /3 bytes cannot be read at once/, /1, 2 or 4/],
    ["ip proto \\tpc", 10, /no protocol is called "tpc"/, /did you mean "tcp"\?/],
    ["1.2.3.4", 1, /nothing says what "1\.2\.3\.4" is/, /"host"/],
    ["ether host 1.2.3.4", 12, /no Ethernet address/, undefined],
    ["host", 5, /ends where an address or a name was expected/, undefined],
    ["tcp port", 9, /ends where a port as 53 or domain was expected/, undefined],
    ["ip proto", 9, /ends where a protocol as 6 or \\tcp was expected/, undefined],
    ["src tcp", 5, /"tcp" stands where an address, host, net, port or portrange was expected/, /comes first/],
    ["10.0.0.1 and 10.0.0.2", 1, /nothing says what "10\.0\.0\.1" is/, /"host"/],
    ["tcp or 443", 8, /nothing says what "443" is/, /"port"/],
    ["len 100", 5, /"100" stands where a comparison .* was expected/, undefined],
    ["ip4", 1, /nothing says what "ip4" is/, /did you mean "ip"\?/],
    ["upd port 53", 1, /nothing says what "upd" is/, /did you mean "udp"\?/],
    ["gtp", 1, /nothing says what "gtp" is/, /put "host"/],
    ["port 65536", 6, /port 65536 does not exist/, /65535/],
    ["vlan 4096", 1, /VLAN 4096 does not exist/, /4095/],
    ["wlan type mgt", 6, /"type" is not supported/, /link types that millrace does not read/],
    ["ip and arp", 1, /no packet of link type EN10MB can match/, /contradict/],
    ["tcp port 08", 10, /a digit that is not octal/, /octal/],
    ["len > 4294967296", 7, /does not fit into 32 bits/, undefined],
    ["ip = 'x'", 6, /means nothing here/, /no quotes/],
    ["host nowhere.invalid", 6, /the host "nowhere\.invalid" is unknown/, undefined],
  ];
  for (const [text, column, message, hint] of cases) {
    const error = refusal(text);
    assert.equal(error.code, "ERR_FILTER");
    assert.match(error.message, message, text);
    assert.equal(error.at?.column, column, `${text}: ${error.message}`);
    assert.ok(error.message.includes(`column ${column}`), error.message);
    if (hint !== undefined) assert.match(error.hint ?? "", hint, text);
  }
});

test("the usual mistakes of those who come from elsewhere are told how it is said here", () => {
  const cases: readonly (readonly [text: string, column: number, hint: RegExp])[] = [
    ["ip.src == 10.0.0.1", 1, /Wireshark/],
    ["udp and tcp.port == 80", 9, /Wireshark/],
    ["http", 1, /put "port" before it/],
    ["src 10.0.0.1:80", 13, /host 10\.0\.0\.1 and port 80/],
    ["port 80,443", 8, /"port 80 or 443"/],
    ["port 80 443", 9, /"and" or "or"/],
    ["host 10.0.0.1 port 80", 15, /"and" or "or"/],
    ["tcp port 80 not udp", 13, /"and" or "or"/],
    ["dst port > 1024", 10, /portrange/],
    ["udp port 5000-5010", 10, /portrange 5000-5010/],
    ["port -1", 6, /0 to 65535/],
    ["tcp flags syn", 5, /tcp\[tcpflags\]/],
    ["tcp[tcpflags] == syn", 18, /tcp-syn/],
    ["icmp echo", 6, /icmp-echo/],
    ["arp request", 5, /arp\[6:2\]/],
    ["ip6 ::1", 5, /"host" or "net"/],
    ["mac 00:11:22:33:44:55", 1, /ether host/],
    ["vlan id 100", 6, /"vlan 100"/],
    ["proto tcp", 7, /\\tcp/],
    ["tcp & port 80", 5, /"&&"/],
    ["tcp port 80)", 12, /no "\("/],
    ["tcp[13]&2", 10, /compared/],
    ["net 192.168.1.*", 5, /192\.168\.1\.0\/24/],
    ["from 10.0.0.1", 1, /"src"/],
    ["ipv4", 1, /"ip"/],
    ["ipv6", 1, /"ip6"/],
    ["TCP port 80", 1, /"tcp"/],
    ["tcp AND udp", 5, /"and"/],
    ["port = 80", 6, /leave it out/],
    ["host: 10.0.0.1", 5, /leave it out/],
    ["src ip 10.0.0.1", 5, /"ip src 10\.0\.0\.1"/],
    ["ip address 10.0.0.1", 4, /"host"/],
    ["host 10.0.0.1/24", 6, /"net"/],
    ["subnet 10.0.0.0/8", 1, /"net"/],
    ["net fe80::1/64", 5, /zeros behind its prefix/],
    ["host fe80::1%eth0", 13, /leave out the interface/],
    ["host 1.2.3.4.5", 6, /four numbers/],
    ["port range 80-90", 6, /portrange 5000-5010/],
    ["portrange 80:90", 13, /portrange 5000-5010/],
    ["tcp port ssh-http", 10, /portrange 5000-5010/],
    ["tcp 80", 5, /"tcp port 80"/],
    ["tcp/80", 4, /"tcp port 80"/],
    ["80/tcp", 4, /"tcp port 80"/],
    ["port https/tcp", 11, /"tcp port 80"/],
    ["80", 3, /before the number/],
    ["tcp; udp", 4, /join them with "or"/],
    ["port {80 443}", 6, /\(80 or 443\)/],
    ["syn", 1, /tcp\[tcpflags\]/],
    ["tcp[flags] = 2", 5, /"tcpflags"/],
    ["tcp[tcpflag] & tcp-syn != 0", 5, /"tcpflags"/],
    ["tcp[tcpflags] & tcp-sync != 0", 17, /"tcp-syn"/],
    ["tcp[tcpflags] & (tcp-syn|tcp-ack)", 34, /compared/],
    ["tcp[13] && 2 != 0", 9, /one "&"/],
    ["icmp type 8", 6, /icmptype/],
    ["icmp6[type] = 1", 7, /icmp6type/],
    ["ether type 0x800", 7, /"ether proto 0x88cc"/],
    ["lldp", 1, /"ether proto 0x88cc"/],
    ["vlan 10 or 20", 12, /one number/],
    ["vxlan vni 5", 7, /"vlan 100"/],
    ["broadcast ip", 11, /"ip broadcast"/],
    ["bcast", 1, /"broadcast"/],
    ["less than 100", 6, /leave it out/],
    ["len 100", 5, /"less 100"/],
    ["len => 100", 6, /">="/],
    ["len <> 100", 6, /"!="/],
    ["len > 1500 bytes", 12, /in bytes/],
    ["size > 100", 1, /"len"/],
    ["ip[0,2] = 1", 5, /"ip\[0:2\]"/],
    ["ip(0) = 1", 3, /"ip\[0\]"/],
    ["ip[9] == tcp", 10, /"ip\[9\] = 6"/],
    [`udp[8:4] = "abcd"`, 12, /0x61626364/],
    ["udp contains abc", 5, /0x61626364/],
    ["gre", 1, /put "proto" before it/],
    ["port dhcp", 6, /bootps/],
    ["in", 1, /"inbound"/],
    ["on eth0", 1, /ifindex/],
    ["tcp dst port 80 src port 90", 17, /"and" or "or"/],
    ["igmp and 224.0.0.1", 10, /"host"/],
  ];
  for (const [text, column, hint] of cases) {
    const error = refusal(text);
    assert.equal(error.at?.column, column, `${text}: ${error.message}`);
    assert.match(error.hint ?? "", hint, text);
  }
});

test("link types without filters are refused by name", () => {
  assert.match(refusal("ip", { linkType: 105 }).message, /link type 105/);
  assert.match(refusal("ip", { linkType: "DATAGRAM" }).hint ?? "", /EN10MB/);
  assert.match(
    refusal("ether host 1:2:3:4:5:6", { linkType: "RAW" }).message,
    /RAW has no Ethernet addresses/,
  );
  assert.match(refusal("ip", { snaplen: 0 }).message, /snap length/);
});

test("a host name is looked up once, where it was written", () => {
  const packet = Uint8Array.from([0x45, ...Array<number>(11).fill(0), 127, 0, 0, 1, 10, 0, 0, 1]);
  assert.equal(compileFilter("host localhost", { linkType: "RAW" }).matches(packet), true);
  assert.equal(compileFilter("dst host localhost", { linkType: "RAW" }).matches(packet), false);
});
