/** What a card shows to its cable. */
export interface Plug {
  /** Whether it takes another frame now; false: it has asked for a pause. */
  takes(): boolean;
  /** A frame arrives, from its destination address to its last data byte. The bytes are the receiver's to keep. */
  arrive(frame: Uint8Array): void;
  /** The link came up or went down. */
  linkChanged(): void;
}

/** A cable between two cards; with one end only, a loopback plug if it is one, else a loose end. */
export interface Wire {
  readonly plugs: Plug[];
  readonly loopback: boolean;
  /** False: someone pulled the cable. */
  connected: boolean;
  /** Sees each frame on its way. */
  tap: ((frame: Uint8Array) => void) | undefined;
}

export function createWire(loopback: boolean): Wire {
  return { plugs: [], loopback, connected: true, tap: undefined };
}

const named = new Map<string, Wire>();

/** The wire of that name in this machine; without a name, a loopback plug. */
export function findWire(name: string | undefined): Wire {
  if (name === undefined) return createWire(true);
  const wire = named.get(name) ?? createWire(false);
  named.set(name, wire);
  return wire;
}

/** Plugs a card in. A third one finds no end free: false. */
export function plugIn(wire: Wire, plug: Plug): boolean {
  if (wire.plugs.length >= (wire.loopback ? 1 : 2)) return false;
  wire.plugs.push(plug);
  for (const each of wire.plugs) each.linkChanged();
  return true;
}

export function unplug(wire: Wire, plug: Plug): void {
  const index = wire.plugs.indexOf(plug);
  if (index < 0) return;
  wire.plugs.splice(index, 1);
  for (const each of wire.plugs) each.linkChanged();
}

/** Pulls the cable, or puts it back. */
export function connectWire(wire: Wire, connected: boolean): void {
  wire.connected = connected;
  for (const plug of wire.plugs) plug.linkChanged();
}

function peerOf(wire: Wire, plug: Plug): Plug | undefined {
  return wire.loopback ? wire.plugs[0] : wire.plugs.find((other) => other !== plug);
}

export function wireUp(wire: Wire, plug: Plug): boolean {
  return wire.connected && peerOf(wire, plug) !== undefined;
}

export function peerTakes(wire: Wire, plug: Plug): boolean {
  return peerOf(wire, plug)?.takes() ?? false;
}

export function sendOver(wire: Wire, plug: Plug, frame: Uint8Array): void {
  wire.tap?.(frame);
  peerOf(wire, plug)?.arrive(frame);
}
