// Byte offsets of what the capture kernels read and write in the arena, for TypeScript and AssemblyScript alike.

// A capture being read: where the walk stands in the block of file in memory. 320 bytes.
export const CAPTURE_POSITION = 0; // u32, address of the next record
export const CAPTURE_END = 4; // u32, address just past the last byte in memory
export const CAPTURE_SWAPPED = 8; // u32, 1: the file's byte order is big endian
export const CAPTURE_LIMIT = 12; // u32, pcap: most bytes a record may have
export const CAPTURE_NEED = 16; // u32, out: bytes wanted from the position on (WALK_NEED, WALK_BLOCK)
export const CAPTURE_HEADER = 20; // u32, pcap: bytes of a record's header
export const CAPTURE_LENGTHS = 24; // u32, pcap: LENGTHS_…, the order of a record's two lengths
export const CAPTURE_UNITS = 28; // u32, pcap: units of a timestamp's fraction in a second
export const CAPTURE_INTERFACES = 32; // u32, pcapng: offset of the section's interface table
export const CAPTURE_INTERFACE_COUNT = 36; // u32
export const CAPTURE_WANTS_OPTIONS = 40; // u32, 1: stop at packets with options that metadata does not hold
export const CAPTURE_OPTIONS = 44; // u32, out: address of such options (WALK_OPTIONS)
export const CAPTURE_OPTIONS_LENGTH = 48; // u32, out
export const CAPTURE_FAULT = 52; // u32, out: CAPTURE_FAULT_… (WALK_FAULT)
export const CAPTURE_VALUE = 56; // u32, out: the number at fault
export const CAPTURE_OTHER = 60; // u32, out: 1: the options are an obsolete packet block's
export const CAPTURE_PASSED = 64; // u64, packets passed over because of their link type
export const CAPTURE_PASSED_BYTES = 72; // u64
export const CAPTURE_PACKETS = 80; // u64, packets appended to bursts
export const CAPTURE_BYTES = 88; // u64, their bytes
export const CAPTURE_REJECTED = 96; // u64, packets that the filter did not take
export const CAPTURE_REJECTED_BYTES = 104; // u64
export const CAPTURE_FILTER = 112; // u32, the filter's place in the kernels' table of functions; 0: none
export const CAPTURE_LENT = 116; // u32, 1: the bytes in memory are lent, and packets are copied out of them
export const CAPTURE_COPY = 120; // u32, address where the next such packet goes
export const CAPTURE_COPY_END = 124; // u32, past the last byte there
export const CAPTURE_COPIED = 128; // u64, bytes copied so
export const CAPTURE_SCOUTED = 136; // u32, lent: address up to which the records' heads were fetched
export const CAPTURE_SCOUTS = 192; // 16 × (u32, u32): where each walk ahead stands, and where it ends
export const CAPTURE_SIZE = 320;

// CAPTURE_LENGTHS: files of version 2.2 and before hold the original length first, those of 2.3 either way.
export const LENGTHS_NORMAL = 0;
export const LENGTHS_SWAPPED = 1;
export const LENGTHS_EITHER = 2;

// How a timestamp is counted, of one pcapng interface. 64 bytes.
export const INTERFACE_UNITS = 0; // u64, units a second, a power of ten; 0: a power of two, or more than 10^19
export const INTERFACE_OFFSET = 8; // i64, seconds to add
export const INTERFACE_SHIFT = 16; // u32, the power of two
export const INTERFACE_NANO = 24; // u64, nanoseconds a unit, where a unit is not finer; else 0
export const INTERFACE_PICO = 32; // u64, units a nanosecond, where a unit is finer; else 0
export const INTERFACE_NUMBER = 40; // u32, counted over all sections
export const INTERFACE_PASS = 44; // u16, 1: pass its packets over
export const INTERFACE_SNAPLEN = 48; // u32, 0: none
export const INTERFACE_LIMIT = 52; // u32, most bytes a packet may have
export const INTERFACE_SIZE = 64;

// Why a walk ended.
export const WALK_FULL = 0; // the burst is full
export const WALK_NEED = 1; // CAPTURE_NEED bytes from the position on are not there yet
export const WALK_BLOCK = 2; // a block that is not a packet's, CAPTURE_NEED bytes, all in memory
export const WALK_OPTIONS = 3; // the packet appended last has options
export const WALK_FAULT = 4;
export const WALK_ROOM = 6; // CAPTURE_NEED bytes are wanted where packets are copied to
export const WALK_LARGE = 5; // the packet needs more descriptors than an empty burst has; CAPTURE_VALUE its bytes

export const CAPTURE_FAULT_RECORD = 1; // more bytes than a packet can have
export const CAPTURE_FAULT_BLOCK = 2; // a block shorter than its kind, longer than any, or of odd length
export const CAPTURE_FAULT_TRAILER = 3; // the two lengths of a block differ
export const CAPTURE_FAULT_INTERFACE = 4; // an interface that no block described
export const CAPTURE_FAULT_DATA = 5; // more bytes of packet than its block has room for
export const CAPTURE_FAULT_OPTIONS = 7; // an option longer than what is left of its block, or of the wrong length
export const CAPTURE_FAULT_FRAME = 6; // the frames under the block are not the reader's

// Blocks (draft-ietf-opsawg-pcapng, section 11.1).
export const BLOCK_SECTION = 0x0a0d0d0a;
export const BLOCK_INTERFACE = 1;
export const BLOCK_OBSOLETE = 2;
export const BLOCK_SIMPLE = 3;
export const BLOCK_NAMES = 4;
export const BLOCK_STATISTICS = 5;
export const BLOCK_ENHANCED = 6;
export const BLOCK_SECRETS = 10;
/** Larger blocks are taken for damage, as Wireshark does. */
export const BLOCK_LARGEST = 16777216;

export const OPTION_END = 0;
export const OPTION_COMMENT = 1;
export const OPTION_FLAGS = 2; // epb_flags, pack_flags: u32, bits 0 and 1 the direction
export const OPTION_QUEUE = 6; // epb_queue: u32
export const DIRECTION_OUT = 2;

// A capture being written: the block of output that is filled. 128 bytes.
export const OUTPUT_POSITION = 0; // u32, where the next record goes
export const OUTPUT_END = 4; // u32, end of the block
export const OUTPUT_PCAPNG = 8; // u32, 0: pcap
export const OUTPUT_UNITS = 12; // u32, units of a second, 10^6 or 10^9
export const OUTPUT_SNAPLEN = 16; // u32, most bytes of a packet that are written
export const OUTPUT_INTERFACES = 20; // u32, offset of a u32 for each META_PEER: the interface to write; 0: all are interface 0
export const OUTPUT_INTERFACE_COUNT = 24; // u32
export const OUTPUT_NEED = 28; // u32, out: bytes the next record wants
export const OUTPUT_SECONDS = 32; // f64, the time given to packets that have none
export const OUTPUT_NANOSECONDS = 40; // u32
export const OUTPUT_ETHERNET = 44; // u32, 1: a tag held in metadata is put back into the frame
export const OUTPUT_PACKETS = 48; // u64, written
export const OUTPUT_BYTES = 56; // u64, bytes of packets written
export const OUTPUT_CLAMPED = 64; // u64, timestamps that the format cannot hold, set to the nearest it can
export const OUTPUT_SWAPPED = 72; // u32, 1: big endian
export const OUTPUT_SIMPLE_SNAPLEN = 76; // u32, snap length of the section's first interface; 0: none
export const OUTPUT_SIZE = 128;

// Records named to be written: struct iovecs over a block of the arena, which holds their heads, and over packets where
// they lie. 64 bytes.
export const RECORDS_ARENA = 0; // u64, absolute address of the arena
export const RECORDS_VECTORS = 8; // u32, offset of the iovecs
export const RECORDS_LIMIT = 12; // u32, how many there may be
export const RECORDS_BLOCK = 16; // u32, offset of the block
export const RECORDS_BLOCK_END = 20; // u32
export const RECORDS_COPIED = 24; // u32, packets of more bytes are named where they lie, others copied into the block
export const RECORDS_COUNT = 28; // u32, out: iovecs
export const RECORDS_BYTES = 32; // u32, out: what they amount to
export const RECORDS_TOUCHED = 36; // u32, of no meaning: a use of what was read for the caches' sake
export const RECORDS_SIZE = 64;

// What a capture's packets amount to. 128 bytes, then one u64 of packets for each interface.
export const SUMMARY_PACKETS = 0; // u64
export const SUMMARY_CAPTURED = 8; // u64, bytes in the file
export const SUMMARY_WIRE = 16; // u64, bytes before a snap length cut them
export const SUMMARY_FIRST = 24; // f64 seconds, earliest
export const SUMMARY_LAST = 32; // f64 seconds, latest
export const SUMMARY_PREVIOUS = 40; // f64 seconds
export const SUMMARY_FIRST_NANO = 48; // u32
export const SUMMARY_LAST_NANO = 52; // u32
export const SUMMARY_PREVIOUS_NANO = 56; // u32
export const SUMMARY_DISORDER = 60; // u32, times that ran backwards
export const SUMMARY_STAMPED = 64; // u64, packets with a time
export const SUMMARY_CUT = 72; // u64, packets of which not all was captured
export const SUMMARY_CUT_LEAST = 80; // u32, the fewest bytes kept of one of those
export const SUMMARY_CUT_MOST = 84; // u32
export const SUMMARY_INTERFACES = 88; // u32, how many interfaces are counted
export const SUMMARY_SIZE = 128;
