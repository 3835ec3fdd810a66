// Byte offsets of what the UDP kernels work on. Like structs.ts, read by TypeScript and by AssemblyScript.

// struct mmsghdr and struct iovec (x86-64 and other 64-bit Linux).
export const MESSAGE_NAME = 0; // u64
export const MESSAGE_NAME_LENGTH = 8; // u32
export const MESSAGE_VECTORS = 16; // u64
export const MESSAGE_VECTOR_COUNT = 24; // u64
export const MESSAGE_CONTROL = 32; // u64
export const MESSAGE_CONTROL_LENGTH = 40; // u64
export const MESSAGE_FLAGS = 48; // u32
export const MESSAGE_LENGTH = 56; // u32
export const MESSAGE_SIZE = 64;
export const VECTOR_SIZE = 16;

// Senders: socket addresses, numbered from 1 in the order in which they were first heard.
export const SENDERS_MASK = 0; // u32, slots - 1; a power of two, at least twice the limit
export const SENDERS_LIMIT = 4; // u32, how many numbers there are
export const SENDERS_COUNT = 8; // u32, how many are given out
export const SENDERS_REFUSED = 12; // u32, datagrams that found no number left and got 0
export const SENDERS_SLOTS = 16; // u32, offset of the hash slots, one u32 each: 0 or a number
export const SENDERS_ENTRIES = 20; // u32, offset of the entries; number 1 is the second
export const SENDERS_SEED = 24; // u32, random, so that nobody outside can choose who collides
export const SENDERS_BYTES = 64;
export const SENDER_LENGTH = 28; // u32, bytes of the address; the address itself stands at 0
export const SENDER_SIZE = 32;

// Receiving: messages posted with frames, and how far they are split into packets.
export const UDP_RX_BASE = 0; // u64, absolute address of the arena
export const UDP_RX_MESSAGES = 8; // u32
export const UDP_RX_VECTORS = 12; // u32, a message
export const UDP_RX_HEADERS = 16; // u32, offset of the mmsghdrs
export const UDP_RX_IOVECS = 20; // u32
export const UDP_RX_NAMES = 24; // u32, SENDER_SIZE each
export const UDP_RX_CONTROLS = 28; // u32, UDP_RX_CONTROL_SIZE each
export const UDP_RX_SLOTS = 32; // u32, offset of the frame under each vector, one u32 each; 0: none
export const UDP_RX_OWNER = 36; // u32, owner of posted frames
export const UDP_RX_DIRTY = 40; // u32, messages below this may lack frames
export const UDP_RX_READY = 44; // u32, messages the kernel filled
export const UDP_RX_CURSOR = 48; // u32, message being split
export const UDP_RX_OFFSET = 52; // u32, bytes of it already split
export const UDP_RX_KEPT = 56; // u32, 1: a reference is kept to the frame under the cursor
export const UDP_RX_SEGMENT = 60; // u32, bytes a datagram in the message being split
export const UDP_RX_SENDER = 64; // u32
export const UDP_RX_STAMPED = 68; // u32, 1: the two below are valid
export const UDP_RX_SECONDS = 72; // f64
export const UDP_RX_NANOSECONDS = 80; // u32
export const UDP_RX_SENDERS = 84; // u32, offset of the SENDERS_ table
export const UDP_RX_PACKETS = 88; // u64
export const UDP_RX_BYTES = 96; // u64
export const UDP_RX_TRUNCATED = 104; // u64, datagrams the kernel cut, dropped
export const UDP_RX_OVERSIZE = 112; // u64, datagrams with more pieces than an empty burst takes, dropped
export const UDP_RX_SIZE = 128;
export const UDP_RX_CONTROL_SIZE = 128;

// Sending: messages built from a burst.
export const UDP_MOST_VECTORS = 1024; // UIO_MAXIOV, a message
export const UDP_TX_BASE = 0; // u64
export const UDP_TX_MESSAGES = 8; // u32, most a call
export const UDP_TX_HEADERS = 12; // u32
export const UDP_TX_IOVECS = 16; // u32
export const UDP_TX_IOVEC_LIMIT = 20; // u32
export const UDP_TX_CONTROLS = 24; // u32, UDP_TX_CONTROL_SIZE each
export const UDP_TX_RANGES = 28; // u32, for each message the first packet and the one after the last, u32 each
export const UDP_TX_CONNECTED = 32; // u32, 1: everything goes to the connected address
export const UDP_TX_SENDERS = 36; // u32, offset of the SENDERS_ table
export const UDP_TX_SEGMENT_LIMIT = 40; // u32, the longest datagram that may be a segment; 0: no segmentation
export const UDP_TX_LIMIT = 44; // u32, the longest datagram or super-packet
export const UDP_TX_LOOKED = 48; // u32, written: the first packet not looked at
export const UDP_TX_PACKETS = 56; // u64
export const UDP_TX_BYTES = 64; // u64
export const UDP_TX_NOWHERE = 72; // u64, dropped: to no known address
export const UDP_TX_OVERSIZE = 80; // u64, dropped: longer than a datagram can be
export const UDP_TX_REFUSED = 88; // u64, dropped: the kernel would not send them
export const UDP_TX_COPIED = 96; // u64, bytes the kernel copied
export const UDP_TX_OWNER = 104; // u32, owner of frames that the kernel reads on its own; 0: it copies
export const UDP_TX_IDS = 108; // u32, offset of one u32 a zero-copy call: its frames, with UDP_TX_DONE
export const UDP_TX_ID_MASK = 112; // u32
export const UDP_TX_ID_HEAD = 116; // u32, free running: the next call's id
export const UDP_TX_ID_TAIL = 120; // u32, the oldest call not yet given back
export const UDP_TX_FRAMES = 124; // u32, offset of the addresses of these frames
export const UDP_TX_FRAME_MASK = 128; // u32
export const UDP_TX_FRAME_HEAD = 132; // u32, free running
export const UDP_TX_FRAME_TAIL = 136; // u32
export const UDP_TX_HELD = 140; // u32, packets in calls not yet given back
export const UDP_TX_HELD_BY = 144; // u32, offset of one u32 a zero-copy call: its packets
export const UDP_TX_PIECE_LIMIT = 148; // u32, the most descriptors that are joined in one message
export const UDP_TX_SIZE = 192;
export const UDP_TX_CONTROL_SIZE = 32;
export const UDP_TX_DONE = 0x80000000;
