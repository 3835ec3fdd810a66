import { lookup } from "node:dns/promises";
import { isIP, isIPv4 } from "node:net";
import { MillraceError } from "../../errors.js";
import { type InetAddress, interfaceIndex } from "../../linux/socket.js";
import { checkParameters, type Locator, numberParameter } from "../locator.js";

/** A UDP locator, read: where to bind or send, and the options of docs/ports.md. */
export interface UdpOptions {
  readonly where: InetAddress;
  readonly multicast: boolean;
  /** Interface index of `iface=`; 0: the routing table decides. */
  readonly iface: number;
  readonly ifaceName: string;
  readonly source: InetAddress | undefined;
  readonly ttl: number | undefined;
  readonly receiveBuffer: number;
  readonly zeroCopy: boolean;
}

const PLACE = /^(?:\[([^\]%]*)(?:%([^\]]+))?\]|([^:[\]]*)):(\d{1,5})$/;
const RECEIVE_BUFFER = 32 * 2 ** 20;

/** Reads `udp://HOST:PORT?…`. An empty host or `*` stands for every IPv4 address. Throws ERR_LOCATOR. */
export async function readUdpLocator(locator: Locator): Promise<UdpOptions> {
  checkParameters(locator, ["iface", "source", "ttl", "rcvbuf", "zerocopy"]);
  const match = PLACE.exec(locator.place);
  const port = Number(match?.[4]);
  if (match === null || port > 65535)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}" names no address and port`, {
      hint: "write udp://10.0.0.1:5000, udp://[2001:db8::1]:5000 or udp://*:5000",
    });
  const [, six, zone, other] = match;
  const address = await resolve(locator, six ?? other);
  const ifaceName = locator.parameters.get("iface") ?? zone ?? "";
  const iface = ifaceName === "" ? 0 : interfaceIndex(ifaceName);
  const multicast = isMulticast(address);
  const source = locator.parameters.get("source");
  if (source !== undefined && !multicast)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": source= is for multicast groups`);
  const zeroCopy = locator.parameters.get("zerocopy") ?? "0";
  if (zeroCopy !== "0" && zeroCopy !== "1" && zeroCopy !== "")
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": zerocopy=${zeroCopy} is neither 0 nor 1`);
  return {
    where: { address, port, scope: address.includes(":") ? iface : 0 },
    multicast,
    iface,
    ifaceName,
    source: source === undefined ? undefined : { address: await resolve(locator, source), port: 0 },
    ttl: numberParameter(locator, "ttl", 0, 255),
    receiveBuffer: numberParameter(locator, "rcvbuf", 1, 2 ** 30 - 1) ?? RECEIVE_BUFFER,
    zeroCopy: zeroCopy !== "0",
  };
}

async function resolve(locator: Locator, host: string): Promise<string> {
  if (host === "" || host === "*") return "0.0.0.0";
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": no address is known for "${host}"`, { cause });
  }
}

function isMulticast(address: string): boolean {
  if (!isIPv4(address)) return address.toLowerCase().startsWith("ff");
  const first = Number(address.split(".")[0]);
  return first >= 224 && first < 240;
}
