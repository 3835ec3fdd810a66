// What the 82574L's descriptors look like in memory, and the state of one of its queues in the arena. Read by
// TypeScript and by the AssemblyScript kernel alike; no type annotations. Sections are those of the
// datasheet (Intel 82574 GbE Controller Family, 317694, revision 3.4); layouts and bits are those of union
// e1000_rx_desc_extended, union e1000_rx_desc_packet_split and struct e1000_tx_desc, e1000_context_desc in Linux (e1000e/hw.h) too.

// Receive descriptor, extended (7.1.4), 16 bytes. Given to the card: the buffer's address, and zero.
// Written back:
export const RXD_RSS_TYPE = 0; // u32, bits 0 to 3: what was hashed; 0: nothing
export const RXD_RSS_HASH = 4; // u32
export const RXD_STATUS = 8; // u32, status in bits 0 to 19, errors above
export const RXD_LENGTH = 12; // u16
export const RXD_VLAN = 14; // u16
// Receive descriptor, packet split (7.1.5), 32 bytes. Given: four addresses. Written back: as above up to
// RXD_STATUS, with RXD_LENGTH for buffer 0, and then:
export const RXD_HEADER = 16; // u16, header length in bits 0 to 9, bit 15: was split
export const RXD_LENGTHS = 18; // u16 × 3, bytes in buffers 1 to 3

// RXD_STATUS (7.1.4)
export const RX_DONE = 1;
export const RX_END = 2;
export const RX_VLAN = 8;
export const RX_UDP_SUM = 0x10;
export const RX_L4_SUM = 0x20;
export const RX_IP_SUM = 0x40;
export const RX_L4_BAD = 0x20000000;
export const RX_IP_BAD = 0x40000000;
/** CE, SE, SEQ, CXE, RXE: the frame is broken. */
export const RX_BROKEN = 0x97000000;

// Transmit descriptors (7.2.10), data and context, 16 bytes.
export const TXD_COMMAND = 8; // u32, length in bits 0 to 19, type in 20 to 23, command in 24 to 31
export const TXD_OPTIONS = 12; // u32, status in bits 0 to 3, packet options in 8 to 15, VLAN tag in 16 to 31
export const TX_DONE = 1;
export const TX_DATA = 0x00100000;
export const TX_END = 0x01000000;
/** Data: append the frame check sequence. Context: the packet is IPv4. */
export const TX_FCS = 0x02000000;
export const TX_CONTEXT_TCP = 0x01000000;
export const TX_CONTEXT_IPV4 = 0x02000000;
export const TX_SEGMENT = 0x04000000;
export const TX_REPORT = 0x08000000;
export const TX_EXTENDED = 0x20000000;
export const TX_TAG = 0x40000000;
export const TX_IP_SUM = 0x100;
export const TX_L4_SUM = 0x200;

// State of a receive queue. Indices run free; a slot is index & (count - 1).
export const RXQ_DESCS = 0; // u32, arena offset of the descriptors
export const RXQ_COUNT = 4; // u32, descriptors, a power of two
export const RXQ_NEXT = 8; // u32, the next one the card will complete
export const RXQ_FILLED = 12; // u32, the next one to give to the card
export const RXQ_FRAMES = 16; // u32, arena offset of RXQ_BUFFERS u32 a descriptor: the frame in it, or 0
export const RXQ_BUFFERS = 20; // u32, buffers a descriptor: 1, or 2 to 4 with header split
export const RXQ_SIZE0 = 24; // u32, bytes of buffer 0
export const RXQ_SIZE = 28; // u32, bytes of the buffers after it
export const RXQ_HEADROOM = 32; // u32, where buffer 0 starts in its frame
export const RXQ_OWNER = 36; // u32, owner number of the frames the card holds
export const RXQ_BIAS = 40; // u64, IOVA = arena offset + bias
export const RXQ_COPYBREAK = 48; // u32, packets up to this are copied out and their frame stays in the ring
export const RXQ_QUEUE = 52; // u32, number of the queue, for the metadata
export const RXQ_MOST = 56; // u32, descriptors a packet may span
export const RXQ_TAIL = 60; // u32, what RDT should be
export const RXQ_PACKETS = 64; // u64
export const RXQ_BYTES = 72; // u64
export const RXQ_COPIED = 80; // u64, bytes
export const RXQ_ERRORS = 88; // u64, packets the card marked as broken
export const RXQ_FAULTS = 96; // u64, completions that cannot be true
export const RXQ_STARVED = 104; // u64, times the pool had no frame for a slot
export const RXQ_TOLD = 112; // u32, RXQ_FILLED when RXQ_TAIL was last set
export const RXQ_SIZE_BYTES = 128;
/** Slots filled before the card is told, a quarter of the ring at most: each telling is a write to a register. */
export const RXQ_BATCH = 64;

// State of a transmit queue.
export const TXQ_DESCS = 0; // u32
export const TXQ_COUNT = 4; // u32, a power of two
export const TXQ_NEXT = 8; // u32, the next descriptor to write
export const TXQ_CLEAN = 12; // u32, the next one whose frame is still the card's
export const TXQ_FRAMES = 16; // u32, arena offset of one u32 a descriptor: address of its frame, 0: none
export const TXQ_OWNER = 20; // u32
export const TXQ_MARKS = 24; // u32, arena offset of the marks: one for each descriptor that reports, in order
export const TXQ_MARK_FIRST = 28; // u32, the oldest mark not yet reported
export const TXQ_MARK_NEXT = 32; // u32
export const TXQ_FRAGMENTS = 36; // u32, the most a packet may have beside its linear part
export const TXQ_BIAS = 40; // u64
export const TXQ_TAIL = 48; // u32, what TDT should be
export const TXQ_LARGEST = 52; // u32, bytes of the longest packet on the wire
export const TXQ_CONTEXT = 56; // u32 × 2, the offsets the card's context holds
export const TXQ_PACKETS = 64; // u64, reported by the card
export const TXQ_BYTES = 72; // u64
export const TXQ_COPIED = 80; // u64, bytes of headers copied for segmentation
export const TXQ_REFUSED = 88; // u64, packets the card could not have sent
export const TXQ_HELD = 96; // u32, packets the card has and has not reported
export const TXQ_TAGS = 100; // u32, 1: the card puts VLAN tags on
export const TXQ_SCRATCH = 128; // 128 bytes, headers that lie in several fragments
export const TXQ_SIZE_BYTES = 256;
/** Bytes from the front of a packet in which its headers are looked for. */
export const HEADER_LIMIT = 128;
/** Descriptors after which a report is asked for in the middle of a burst. */
export const TXQ_BATCH = 32;

// A mark: the descriptor that reports, and what is done when it does. 16 bytes.
export const MARK_INDEX = 0; // u32
export const MARK_PACKETS = 4; // u32
export const MARK_BYTES = 8; // u32
export const MARK_SHIFT = 4;
