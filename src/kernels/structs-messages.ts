// Byte offsets of what the kernels of udp:, packet: and tap: work on. Like structs.ts, read by TypeScript and
// by AssemblyScript.

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

// Inbox: messages posted with frames to be received into, and how far what came is split into packets.
export const INBOX_BASE = 0; // u64, absolute address of the arena
export const INBOX_MESSAGES = 8; // u32
export const INBOX_VECTORS = 12; // u32, a message
export const INBOX_HEADERS = 16; // u32, offset of the mmsghdrs
export const INBOX_IOVECS = 20; // u32
export const INBOX_NAMES = 24; // u32, SENDER_SIZE each
export const INBOX_CONTROLS = 28; // u32, INBOX_CONTROL_SIZE each
export const INBOX_SLOTS = 32; // u32, offset of the frame under each vector, one u32 each; 0: none
export const INBOX_OWNER = 36; // u32, owner of posted frames
export const INBOX_DIRTY = 40; // u32, messages below this may lack frames
export const INBOX_READY = 44; // u32, messages the kernel filled
export const INBOX_CURSOR = 48; // u32, message being split
export const INBOX_OFFSET = 52; // u32, bytes of it already split
export const INBOX_KEPT = 56; // u32, 1: a reference is kept to the frame under the cursor
export const INBOX_SEGMENT = 60; // u32, bytes a datagram in the message being split
export const INBOX_SENDER = 64; // u32
export const INBOX_STAMPED = 68; // u32, 1: the two below are valid
export const INBOX_SECONDS = 72; // f64
export const INBOX_NANOSECONDS = 80; // u32
export const INBOX_SENDERS = 84; // u32, offset of the SENDERS_ table
export const INBOX_PACKETS = 88; // u64
export const INBOX_BYTES = 96; // u64
export const INBOX_TRUNCATED = 104; // u64, datagrams the kernel cut, dropped
export const INBOX_OVERSIZE = 112; // u64, datagrams with more pieces than an empty burst takes, dropped
export const INBOX_HEADER = 120; // u32, offset of 16 bytes for what comes before a packet's bytes; its vector is the one before INBOX_IOVECS
export const INBOX_HOME = 124; // u32, where the frames of each message lie side by side as long as they are free; 0: not looked for yet; INBOX_HOMELESS
export const INBOX_HOMELESS = 1;
export const INBOX_SIZE = 128;
export const INBOX_CONTROL_SIZE = 128;

// Outbox: messages built from a burst, to be sent.
export const MOST_VECTORS = 1024; // UIO_MAXIOV, a message
export const OUTBOX_BASE = 0; // u64
export const OUTBOX_MESSAGES = 8; // u32, most a call
export const OUTBOX_HEADERS = 12; // u32
export const OUTBOX_IOVECS = 16; // u32
export const OUTBOX_IOVEC_LIMIT = 20; // u32
export const OUTBOX_CONTROLS = 24; // u32, OUTBOX_CONTROL_SIZE each
export const OUTBOX_RANGES = 28; // u32, for each message the first packet and the one after the last, u32 each
export const OUTBOX_CONNECTED = 32; // u32, 1: everything goes to the connected address
export const OUTBOX_SENDERS = 36; // u32, offset of the SENDERS_ table
export const OUTBOX_SEGMENT_LIMIT = 40; // u32, the longest datagram that may be a segment; 0: no segmentation
export const OUTBOX_LIMIT = 44; // u32, the longest datagram or super-packet
export const OUTBOX_LOOKED = 48; // u32, written: the first packet not looked at
export const OUTBOX_PACKETS = 56; // u64
export const OUTBOX_BYTES = 64; // u64
export const OUTBOX_NOWHERE = 72; // u64, dropped: to no known address
export const OUTBOX_OVERSIZE = 80; // u64, dropped: longer than a datagram can be
export const OUTBOX_REFUSED = 88; // u64, dropped: the kernel would not send them
export const OUTBOX_COPIED = 96; // u64, bytes the kernel copied
export const OUTBOX_OWNER = 104; // u32, owner of frames that the kernel reads on its own; 0: it copies
export const OUTBOX_IDS = 108; // u32, offset of one u32 a zero-copy call: its frames, with OUTBOX_DONE
export const OUTBOX_ID_MASK = 112; // u32
export const OUTBOX_ID_HEAD = 116; // u32, free running: the next call's id
export const OUTBOX_ID_TAIL = 120; // u32, the oldest call not yet given back
export const OUTBOX_FRAMES = 124; // u32, offset of the addresses of these frames
export const OUTBOX_FRAME_MASK = 128; // u32
export const OUTBOX_FRAME_HEAD = 132; // u32, free running
export const OUTBOX_FRAME_TAIL = 136; // u32
export const OUTBOX_HELD = 140; // u32, packets in calls not yet given back
export const OUTBOX_HELD_BY = 144; // u32, offset of one u32 a zero-copy call: its packets
export const OUTBOX_PIECE_LIMIT = 148; // u32, the most descriptors that are joined in one message
export const OUTBOX_VNET = 152; // u32, bytes of struct virtio_net_hdr that go before each packet; 0: none
export const OUTBOX_LINK = 156; // u32, LINKTYPE_ value of what is sent
export const OUTBOX_SCRATCH = 160; // u32, offset of DATAGRAM_HEAD_LIMIT bytes
export const OUTBOX_UNFINISHED = 168; // u64, dropped: their checksum or segments could not be described to the kernel
export const OUTBOX_RING = 176; // u32, offset of a ring of TPACKET_V2 slots to send over
export const OUTBOX_SLOTS = 180; // u32
export const OUTBOX_SLOT_SIZE = 184; // u32
export const OUTBOX_SLOT = 188; // u32, the slot that the kernel takes next
export const OUTBOX_SLOT_LIMIT = 192; // u32, the longest packet that goes through a slot
export const OUTBOX_SLOT_FULL = 196; // u32, written: 1: the kernel still reads the next slot
export const OUTBOX_SIZE = 208;
export const OUTBOX_CONTROL_SIZE = 32;
export const OUTBOX_DONE = 0x80000000;

// Receiving over a ring of AF_PACKET (linux/if_packet.h): TPACKET_V2 slots or TPACKET_V3 blocks, both "units".
export const TPACKET_RING = 0; // u32, offset of the ring in the arena
export const TPACKET_UNITS = 4; // u32
export const TPACKET_UNIT_SIZE = 8; // u32
export const TPACKET_UNIT = 12; // u32, the unit being read
export const TPACKET_NEXT = 16; // u32, V3: where in the block the next packet starts; 0: the block is not opened
export const TPACKET_LEFT = 20; // u32, V3: packets left in the block
export const TPACKET_VNET = 24; // u32, bytes of struct virtio_net_hdr before each packet; 0: none
export const TPACKET_KINDS = 28; // u32, bit n: packets whose sll_pkttype is n are wanted
export const TPACKET_ETHERNET = 32; // u32, 1: a VLAN tag that the kernel took off can be put back
export const TPACKET_LARGE = 36; // u32, written: 1: the next packet waits in the socket's queue, as no slot could hold it
export const TPACKET_STARVED = 40; // u32, written: 1: the pool had no frame left
export const TPACKET_COOKED = 44; // u32, 1: packets come without link header and get one of LINKTYPE_LINUX_SLL2
export const TPACKET_PACKETS = 48; // u64
export const TPACKET_BYTES = 56; // u64
export const TPACKET_TRUNCATED = 64; // u64, dropped: no slot could hold them whole
export const TPACKET_MALFORMED = 72; // u64, dropped: the ring contradicts itself
export const TPACKET_OVERSIZE = 80; // u64, dropped: more pieces than an empty burst takes
export const TPACKET_HELD = 88; // u32, V3: units before TPACKET_UNIT that tpacketRecord() has named packets of
export const TPACKET_OPENED = 96; // u64, V3: packets of the blocks that were opened
export const TPACKET_TOUCHED = 104; // u32, written: what was read for the caches' sake
export const TPACKET_SIZE = 128;
