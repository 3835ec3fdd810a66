// The "netdev" family of generic netlink (linux/netdev.h): what a driver can do with XDP. Linux 6.3 and newer.

import { NETLINK_GENERIC, request } from "./netlink.js";
import { attribute, decodeAttributes, numberOf, u32 } from "./netlink-messages.js";

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const NETDEV_CMD_DEV_GET = 1;
const NETDEV_A_DEV_IFINDEX = 1;
const NETDEV_A_DEV_XDP_FEATURES = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS = 4;

/** What a driver says of itself (enum netdev_xdp_act). */
export interface XdpFeatures {
  /** Runs XDP programs itself: native mode. */
  readonly native: boolean;
  readonly redirect: boolean;
  /** AF_XDP without a copy. */
  readonly zeroCopy: boolean;
  /** Multi-buffer packets on receive, in native mode. */
  readonly fragments: boolean;
  /** Most descriptors a packet may have in zero-copy mode. */
  readonly zeroCopySegments: number;
}

const ACT_BASIC = 1;
const ACT_REDIRECT = 2;
const ACT_XSK_ZEROCOPY = 8;
const ACT_RX_SG = 32;

function genericBody(command: number, ...attributes: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from([command, 1, 0, 0]), ...attributes]);
}

/** What the driver of interface `index` offers; undefined: the kernel is too old to say. */
export function xdpFeatures(index: number): XdpFeatures | undefined {
  const family = netdevFamily();
  if (family === undefined) return undefined;
  const subject = `XDP features of interface ${index}`;
  const body = genericBody(NETDEV_CMD_DEV_GET, attribute(NETDEV_A_DEV_IFINDEX, u32(index)));
  const [answer] = request(NETLINK_GENERIC, family, 0, body, subject);
  if (answer === undefined) return undefined;
  const attributes = decodeAttributes(answer.body.subarray(4));
  const bits = numberOf(attributes, NETDEV_A_DEV_XDP_FEATURES) ?? 0; // a u64; the acts fit its low half
  return {
    native: (bits & ACT_BASIC) !== 0,
    redirect: (bits & ACT_REDIRECT) !== 0,
    zeroCopy: (bits & ACT_XSK_ZEROCOPY) !== 0,
    fragments: (bits & ACT_RX_SG) !== 0,
    zeroCopySegments: numberOf(attributes, NETDEV_A_DEV_XDP_ZC_MAX_SEGS) ?? 1,
  };
}

function netdevFamily(): number | undefined {
  const body = genericBody(CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, "netdev"));
  try {
    const [answer] = request(NETLINK_GENERIC, GENL_ID_CTRL, 0, body, "the netdev family");
    return answer === undefined
      ? undefined
      : decodeAttributes(answer.body.subarray(4)).get(CTRL_ATTR_FAMILY_ID)?.readUInt16LE(0);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}
