// Broadcasts and multicasts.
import { type Condition, constant, test } from "./ir.js";
import { broadcastAddress, etherHost, withInnerLink } from "./link.js";
import { ip6Multicast, ipBroadcast, ipMulticast } from "./network.js";
import { type FilterState, fault, loadFrom } from "./state.js";

export function broadcastTest(state: FilterState, protocol: string): Condition {
  if (protocol === "" || protocol === "link") {
    if (state.linkType !== "EN10MB")
      throw fault(state, `link type ${state.linkType} has no broadcasts`, "use it on link type EN10MB");
    return etherHost(state, broadcastAddress(), "dst");
  }
  if (protocol === "ip") return ipBroadcast(state);
  throw fault(
    state,
    `"${protocol} broadcast" does not exist`,
    `"broadcast" can follow ether and ip, or stand alone`,
  );
}

export function multicastTest(state: FilterState, protocol: string): Condition {
  if (protocol === "ip") return ipMulticast(state);
  if (protocol === "ip6") return ip6Multicast(state);
  if (protocol !== "" && protocol !== "link")
    throw fault(
      state,
      `"${protocol} multicast" does not exist`,
      `"multicast" can follow ether, ip and ip6, or stand alone`,
    );
  if (state.linkType !== "EN10MB")
    throw fault(
      state,
      `link type ${state.linkType} has no multicasts`,
      `write "ip multicast" or "ip6 multicast"`,
    );
  const group = test("set", loadFrom(state, state.linkHeader, 0, 1), constant(state.values, 1));
  return withInnerLink(state, group);
}
