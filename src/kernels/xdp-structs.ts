// One AF_XDP queue as its kernel sees it, in the arena: the private sides of the four rings, then its numbers
// and counters. Read by TypeScript and AssemblyScript alike, as structs.ts.
export const XDP_RX = 0; // RING_* side, consumer
export const XDP_TX = 64; // producer
export const XDP_FILL = 128; // producer
export const XDP_COMPLETION = 192; // consumer
export const XDP_QUEUE = 256; // u32, number of the queue
export const XDP_RX_OWNER = 260; // u32, owner of the frames in the fill and receive rings
export const XDP_TX_OWNER = 264; // u32, owner of the frames in the transmit and completion rings
export const XDP_OUTSTANDING = 268; // u32, descriptors given to the kernel and not completed
export const XDP_COMPLETED = 272; // u32, index in the transmit ring of the oldest of them
export const XDP_UNFILLED = 276; // u32, descriptors received since the fill ring was last full

// Counters, each a f64, written by the queue's worker alone.
export const XDP_RECEIVED = 288; // packets handed to bursts or dropped here
export const XDP_RECEIVED_BYTES = 296;
export const XDP_SENT = 304; // packets completed
export const XDP_SENT_BYTES = 312;
export const XDP_TAKEN = 320; // packets put into the transmit ring
export const XDP_RUNTS = 328; // packets to send whose linear part is shorter than an Ethernet header, or with an empty piece
export const XDP_BAD_RECEIVED = 336; // packets received with a descriptor that names no frame of the ring's
export const XDP_BAD_COMPLETED = 344; // completions for frames that the ring does not own: not believed
export const XDP_OVERSIZE = 352; // packets of more descriptors than a burst holds
export const XDP_QUEUE_SIZE = 384;
