// Byte offsets of every structure that lives in the arena. Read by TypeScript and by the AssemblyScript
// kernels alike, so a structure is written down once. No type annotations: the file must mean the same to both.

// Descriptor: struct xdp_desc (linux/if_xdp.h), 16 bytes. `addr` is a u64 whose upper half is zero.
export const DESC_ADDR = 0;
export const DESC_LEN = 8;
export const DESC_OPTIONS = 12;
export const DESC_SIZE = 16;
export const DESC_SHIFT = 4;
/** Bit 0 of a descriptor's options: the packet goes on in the next descriptor (XDP_PKT_CONTD). */
export const CONTINUED = 1;

// Metadata of one packet, 32 bytes, beside its descriptors and never in its frame, so that packets which
// share a frame can differ in it.
export const META_SECONDS = 0; // f64, whole seconds since the epoch
export const META_NANOSECONDS = 8; // u32
export const META_HASH = 12; // u32, RSS hash (valid with META_HASHED)
export const META_WIRE_LENGTH = 16; // u32, bytes before a snap length cut them
export const META_PEER = 20; // u32, sender (udp: number in the peer table), or interface (pcap)
export const META_FLAGS = 24; // u16
export const META_VLAN = 26; // u16, tag control information (valid with META_TAGGED)
export const META_SEGMENT = 28; // u16, payload bytes a segment when the packet is a super-frame, else 0
export const META_QUEUE = 30; // u8
export const META_VERDICT = 31; // u8
export const META_SIZE = 32;
export const META_SHIFT = 5;

// META_FLAGS. Bits 0 and 1: what is known of the transport checksum.
export const CHECKSUM_MASK = 3;
export const CHECKSUM_UNKNOWN = 0;
export const CHECKSUM_GOOD = 1;
export const CHECKSUM_BAD = 2;
/** The sender left only the pseudo-header's sum in the field; the engine or the card has to finish it. */
export const CHECKSUM_PARTIAL = 3;
export const META_TAGGED = 4;
export const META_STAMPED = 8;
export const META_HASHED = 16;
export const META_OUTGOING = 32;
export const META_UDP_SEGMENTS = 64;
export const META_TCP_SEGMENTS = 128;

// META_VERDICT. Everything else is an index of a drop reason (1 to 126) or 128 + a sink.
export const VERDICT_PASS = 0;
/** Taken by a ring, a port or a holder: no longer the burst's. */
export const VERDICT_MOVED = 255;
/** Accounted for by whoever looked at it (gather); its frames are still the burst's to free. */
export const VERDICT_TAKEN = 254;
/** Passed over for the moment: whoever set it makes it PASS again. */
export const VERDICT_ASIDE = 253;
export const VERDICT_ROUTE = 128;

// Burst: up to `capacity` descriptors and as many packets, in the arena, 64 bytes of header.
export const BURST_CAPACITY = 0; // u32, descriptors; the arrays below hold as many entries each
export const BURST_COUNT = 4; // u32, descriptors in use
export const BURST_PACKETS = 8; // u32, packets in use
export const BURST_DESCS = 12; // u32, offset of the descriptors
export const BURST_METAS = 16; // u32, offset of the metadata, one a packet
export const BURST_STARTS = 20; // u32, offset of u32 indices: the first descriptor of each packet
export const BURST_GENERATION = 24; // u32, one more each time the burst is emptied
export const BURST_BYTES = 64; // size of the header

// One side of a ring (its producer or its consumer): where the shared words are, and a private copy of the
// index of the other side. The shared words may lie in memory mapped from the kernel.
export const RING_PRODUCER = 0; // u32, offset of the shared producer index
export const RING_CONSUMER = 4; // u32, offset of the shared consumer index
export const RING_FLAGS = 8; // u32, offset of the shared flags word
export const RING_ENTRIES = 12; // u32, offset of the entries
export const RING_MASK = 16; // u32, entries - 1
export const RING_METAS = 20; // u32, offset of one metadata record an entry; 0: the ring carries none
export const RING_LOCAL = 24; // u32, this side's own index, not yet published
export const RING_PEER = 28; // u32, the other side's index as last read
export const RING_ENTRY_SHIFT = 32; // u32, 3 for addresses, 4 for descriptors
export const RING_OWNER = 36; // u32, the owner that frames in this ring carry
export const RING_SIDE_SIZE = 64;
/** Bit 0 of a ring's flags word: the other side sleeps and wants to be woken (XDP_RING_NEED_WAKEUP). */
export const NEED_WAKEUP = 1;

// Frame table: one u32 a frame. High half: the owner. Low half: the number of references.
export const OWNER_SHIFT = 16;
export const REFERENCE_MASK = 0xffff;
/** Owner 0 with no reference: free. Owners 1 to 63 are workers, from 64 up the rings of ports and links. */
export const OWNER_FREE = 0;
export const OWNER_FIRST_RING = 64;
export const OWNER_LIMIT = 1024;
export const WORKER_LIMIT = 64;

// A datagram within a burst: what the layout programs read. 32 bytes.
export const DATAGRAM_HEAD = 0; // u32, address of its first bytes (in place, or copied where fragments cut them)
export const DATAGRAM_HEAD_LENGTH = 4; // u32, bytes readable there
export const DATAGRAM_LENGTH = 8; // u32, bytes of the whole payload
export const DATAGRAM_TAIL = 12; // u32, address just past its last byte; min(8, length) bytes before it are readable
export const DATAGRAM_PEER = 16; // u32, who sent it
export const DATAGRAM_PACKET = 20; // u32, its packet's index in the burst
export const DATAGRAM_DESC = 24; // u32, index in the burst of the descriptor in which the payload begins
export const DATAGRAM_OFFSET = 28; // u32, bytes from that descriptor's address to the payload
export const DATAGRAM_SIZE = 32;
/** So many datagrams are cut, then placed; while they are, the heads of as many behind them are fetched. */
export const DATAGRAM_GROUP = 32;
/** How many bytes from the start of a datagram a layout can look at when the datagram is cut into fragments. */
export const DATAGRAM_HEAD_LIMIT = 2048;

// A cut: what a layout program says of one slice of a datagram. 96 bytes.
export const CUT_DATAGRAM = 0; // u32, index of the datagram
export const CUT_FLAGS = 4; // u32
export const CUT_STREAM_LOW = 8; // u64, the stream's fields, packed, least significant
export const CUT_STREAM_HIGH = 16; // u64
export const CUT_CHUNK = 24; // u64, the chunk's id
export const CUT_POSITION = 32; // u64, the sequence number, or the place in bytes or in datagrams
export const CUT_SIZE = 40; // u64, bytes of the whole chunk (valid with CUT_SIZED)
export const CUT_DATA = 48; // u32, bytes from the start of the payload to the data
export const CUT_LENGTH = 52; // u32, bytes of data
export const CUT_CHANGED = 56; // u64, the field whose change ends the chunk before (valid with CUT_HAS_CHANGED)
export const CUT_KIND = 64; // u32, number of the case or control kind that matched, for the fields shown to users
export const CUT_BYTES = 96;

// CUT_FLAGS: the low byte is what the datagram is.
export const CUT_WHAT = 0xff;
export const CUT_IS_DATA = 0;
export const CUT_IS_CONTROL = 1;
export const CUT_IS_LOST = 2;
export const CUT_IS_OTHER = 3;
export const CUT_IS_MALFORMED = 4;
/** This datagram is the last of its chunk. */
export const CUT_END = 0x100;
/** The next cut belongs to the same datagram. */
export const CUT_MORE = 0x200;
export const CUT_SIZED = 0x400;
export const CUT_HAS_CHANGED = 0x800;
export const CUT_HAS_CHUNK = 0x1000;
/** CUT_POSITION counts full datagrams, not bytes: the unit is the largest data seen in the stream. */
export const CUT_BY_DATAGRAM = 0x2000;
/** The datagram carries fields that the chunk shows to its user: the head must be looked at. */
export const CUT_FIELDS = 0x4000;
/** The first of its chunk by its kind (a leader): a chunk without it is not complete. */
export const CUT_START = 0x8000;

// Control block: the head of an arena, from which a worker finds everything else.
export const CONTROL_MAGIC = 0; // u32, CONTROL_MAGIC_VALUE
export const CONTROL_FRAME_SHIFT = 4; // u32, 11 or 12
export const CONTROL_FRAMES = 8; // u32, all frames; frame 0 is never handed out
export const CONTROL_POOL_FRAMES = 12; // u32, frames below this go through the pool, those above are claimed in runs
export const CONTROL_TABLE = 16; // u32, offset of the frame table
export const CONTROL_PAGES = 20; // u32, offset of the region page table: one u32 a page, its owner or 0
export const CONTROL_PAGE_COUNT = 24; // u32
export const CONTROL_REGIONS = 28; // u32, offset of the first region page
export const CONTROL_MAGAZINES = 32; // u32, offset of the magazines; number 0 is never used
export const CONTROL_OWNERS = 36; // u32, offset of the owner table
export const CONTROL_LOOPS = 40; // u32, offset of the directory of loop: ports
export const CONTROL_POISON = 44; // u32, 1: freed frames are filled with POISON_BYTE
export const CONTROL_DEPOT_FULL = 48; // u64, stack of full magazines: number in the low half, tag in the high
export const CONTROL_DEPOT_EMPTY = 56; // u64, stack of empty magazines
export const CONTROL_PAGE_HINT = 68; // u32, where the search for free region pages starts
export const CONTROL_XDP = 72; // u32, offset of the directory of XDP attachments; 0: none yet
export const CONTROL_RUN_HINTS = 128; // u32 for each length of a run: where the search for a free one of it starts
export const CONTROL_SIZE = 256;
/** Runs of so many frames and of more share the last hint. A multiple of four. */
export const RUN_HINTS = 32;
export const CONTROL_MAGIC_VALUE = 0x4c4c494d; // "MILL"
export const POISON_BYTE = 0xa5;
/** Regions (rings, tables, bursts) are handed out in pages of 16 KiB, so that foreign pages can be mapped over them. */
export const REGION_PAGE_SHIFT = 14;

/** What two workers write stands so far apart: processors fetch cache lines in pairs. */
export const APART = 128;

// Owner table: APART bytes an owner (workers below OWNER_FIRST_RING, then rings).
export const OWNER_PARENT = 0; // u32, 0: free; the worker to which a ring belongs; a worker's own number
export const OWNER_REFERENCES = 4; // u32, offset of this holder's own counts of shared frames, one u16 a frame; or 0
export const OWNER_LOADED = 8; // u32, workers: number of the magazine in use
export const OWNER_PREVIOUS = 12; // u32, workers: number of the other magazine; rings: offset of the ring side, or 0
export const OWNER_DESCRIPTOR = 8; // u32, others: one more than the descriptor that goes with this entry; or 0
export const OWNER_USES = 16; // u32, others: offset of what this entry is a use of, shared by several workers; or 0
export const OWNER_SIZE = 128;
/** The owner of a frame with several references: each holder keeps its own count. */
export const OWNER_SHARED = 1023;

// Magazine: a handful of free frames that moves between a worker and the depot as a whole.
export const MAGAZINE_NEXT = 0; // u32, number of the next magazine in the depot's stack
export const MAGAZINE_COUNT = 4; // u32
export const MAGAZINE_ENTRIES = 64; // u32 frame addresses
export const MAGAZINE_CAPACITY = 128; // a burst's worth; their words in the frame table are four times APART
export const MAGAZINE_SIZE = 640;

// What a null: port keeps in the arena.
export const NULL_PACKETS = 0; // f64, sent
export const NULL_BYTES = 8; // f64, sent
export const SCRATCH_VECTOR = 64; // 16 bytes, of a kernel while it runs
export const SCRATCH_SIZE = 128;

// What forwarding does to packets before the port that they leave by.
export const EDGE_MOST = 0; // u32, bytes of the longest packet that the port takes
export const EDGE_FRAGMENTS = 4; // u32, the most that a packet may have beside its linear part
export const EDGE_TOO_LONG = 8; // u32, the verdict of a packet that is longer
export const EDGE_FINISHES = 12; // u32, 1: checksums left partial are to be finished before the port has them
export const EDGE_REWRITES = 16; // u32, not 0: hardware addresses are rewritten, by the vectors below
export const EDGE_ORDER = 32; // 16 bytes: which of a packet's first bytes comes to each place; 128: that of EDGE_SET
export const EDGE_SET = 48; // 16 bytes
/** EDGE_REWRITES: they are swapped, and no more. */
export const EDGE_SWAPS = 2;
export const EDGE_SIZE = 128; // with SCRATCH_VECTOR

// Faults of the edge check, in bits 0 to 7 of a negative result; the descriptor's index in the bits above.
export const FAULT_OPTIONS = 1;
export const FAULT_ADDRESS = 2;
export const FAULT_LENGTH = 3;
export const FAULT_OWNER = 4;
export const FAULT_DANGLING = 5;
export const FAULT_RING = 6;

// Directory of loop: ports: one record a name.
export const LOOP_NAME = 0; // 40 bytes, UTF-8, zero-filled
export const LOOP_STATE = 40; // u32, 0 free, 1 being made, 2 ready
export const LOOP_ENDS = 44; // u32, how many ends are open
export const LOOP_DATA = 48; // u32, offset of the loop's own structure
export const LOOP_CLAIMS = 52; // u32, bit 0 and 1: which end is taken
export const LOOP_RECORD_SIZE = 64;
export const LOOP_LIMIT = 256;
export const LOOP_DIRECTORY_BYTES = 16384;

// What the dissection kernel finds in one packet: 32 bytes. Offsets count from the packet's first byte.
export const LAYERS_STATE = 0; // u8, one of LAYERS_IS_…
export const LAYERS_FAMILY = 1; // u8, 4, 6 or 0
export const LAYERS_PROTOCOL = 2; // u8, IP protocol above IP options and extension headers
export const LAYERS_TAGS = 3; // u8, VLAN tags passed
export const LAYERS_TYPE = 4; // u16, EtherType, VLAN tags passed
export const LAYERS_SOURCE_PORT = 6; // u16, of TCP, UDP, UDP-Lite, SCTP and DCCP
export const LAYERS_DESTINATION_PORT = 8; // u16
export const LAYERS_NETWORK = 12; // u32, where the IP header starts
export const LAYERS_TRANSPORT = 16; // u32, where the transport header starts
export const LAYERS_END = 20; // u32, where the IP packet ends; what follows is padding
export const LAYERS_FRAGMENT = 24; // u32, IP fragments: where the fragment header (IPv6) or the IP header (IPv4) starts
export const LAYERS_SIZE = 32;
/** An IP packet, whole. */
export const LAYERS_IS_WHOLE = 0;
/** Not IP, or of a link type that the kernel does not know. */
export const LAYERS_IS_OTHER = 1;
/** Lengths or versions contradict each other, or the packet was cut. */
export const LAYERS_IS_MALFORMED = 2;
/** A fragment of an IP packet: it has to be reassembled first. */
export const LAYERS_IS_FRAGMENT = 3;

// What the datagram kernel is asked, and where it writes.
export const SCAN_LINK = 0; // u32, LINKTYPE_ value, or LINK_DATAGRAM
export const SCAN_PORT = 4; // u32, UDP destination port; 0: any
export const SCAN_NEED = 8; // u32, bytes that must be readable at a datagram's head, at most DATAGRAM_HEAD_LIMIT
export const SCAN_OUT = 12; // u32, DATAGRAM_ records
export const SCAN_LIMIT = 16; // u32, how many of them fit
export const SCAN_SCRATCH = 20; // u32, SCAN_NEED + 16 bytes for each record, then DATAGRAM_HEAD_LIMIT more
export const SCAN_STATES = 24; // u32, one u8 a packet: SCAN_IS_…
export const SCAN_PEERS = 28; // u32, a PEERS_ table, or 0
export const SCAN_NEXT = 32; // u32, written: the first packet not looked at
export const SCAN_BYTES = 64;
export const SCAN_IS_DATAGRAM = 0;
export const SCAN_IS_OTHER = 1;
export const SCAN_IS_MALFORMED = 2;
/** A fragment of an IP packet: reassemble it and scan again. */
export const SCAN_IS_FRAGMENT = 3;
/** UDP, but of another port. */
export const SCAN_IS_ELSEWHERE = 4;
/** Not a LINKTYPE_ value: the packet is a socket's payload, without any header. */
export const LINK_DATAGRAM = 0x10000;

// Peers: source and destination of datagrams, numbered from 1 in the order in which they were first seen.
export const PEERS_MASK = 0; // u32, slots - 1; a power of two, at least twice the limit
export const PEERS_LIMIT = 4; // u32, how many numbers there are
export const PEERS_COUNT = 8; // u32, how many are given out
export const PEERS_REFUSED = 12; // u32, datagrams that found no number left and got 0
export const PEERS_SLOTS = 16; // u32, offset of the hash slots, one u32 each: 0 or a number
export const PEERS_ENTRIES = 20; // u32, offset of the entries; number 1 is the first
export const PEERS_BYTES = 64;
export const PEER_FAMILY = 0; // u32, 4 or 6
export const PEER_SOURCE_PORT = 4; // u16, network order
export const PEER_DESTINATION_PORT = 6; // u16, network order
export const PEER_SOURCE = 8; // 16 bytes; IPv4: the first 4, the rest zero
export const PEER_DESTINATION = 24; // 16 bytes
export const PEER_SIZE = 40;

// Finishing checksums: which packets, and what is counted (u32 each).
export const FINISH_PARTIAL = 0;
export const FINISH_ALL = 1;
export const FINISH_DONE = 0;
export const FINISH_BAD = 4;

// One packet that scatter is to make: 16 bytes.
export const SEND_HEADER = 0; // u32, address of its header bytes, and of its tail behind them; 0: it has no head
export const SEND_HEADER_LENGTH = 4; // u32, without the tail
export const SEND_DATA = 8; // u32, where in the chunk its data begins
export const SEND_DATA_LENGTH = 12; // u32
export const SEND_SIZE = 16;

// Why a packet could not be cut into segments or fragments.
export const SPLIT_NO_ROOM = -1; // the burst for the pieces is full
export const SPLIT_NO_FRAME = -2; // the pool is empty, or a frame has too many holders
export const SPLIT_NOT_POSSIBLE = -3; // not a packet that can be cut so
export const SPLIT_REFUSED = -4; // its sender forbids it

// A flow whose packets are being joined. All u32.
export const FLOW_HEAD = 0; // number of the packet that the others join
export const FLOW_LAST = 4; // number of the last that joined
export const FLOW_HEADERS = 8; // bytes of all headers
export const FLOW_NETWORK = 12; // offset of the IP header
export const FLOW_TRANSPORT = 16; // offset of the transport header
export const FLOW_BYTES = 20; // address of the first packet's headers
export const FLOW_SEGMENT = 24; // payload bytes of the first packet
export const FLOW_TOTAL = 28; // payload bytes so far
export const FLOW_PIECES = 32; // descriptors so far
export const FLOW_SEQUENCE = 36; // TCP: the sequence number that comes next
export const FLOW_IDENTIFICATION = 40; // IPv4: that of the last packet
export const FLOW_SIZE = 48;
export const COALESCE_FLOWS = 8;
/** The longest IP packet that is made. */
export const COALESCE_BYTES = 65535;
