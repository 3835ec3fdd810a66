// Offsets of a virtqueue's structures (Virtual I/O Device Version 1.2; sections in brackets) and of the record
// the driver keeps of it. Read by TypeScript and by the AssemblyScript kernels, as structs.ts is.

// Descriptor, split and packed [2.7.5, 2.8.6]. Both have 16 bytes and begin alike.
export const VIRTQ_ADDRESS = 0; // u64, IOVA
export const VIRTQ_LENGTH = 8; // u32
export const VIRTQ_SPLIT_FLAGS = 12; // u16
export const VIRTQ_SPLIT_NEXT = 14; // u16
export const VIRTQ_PACKED_ID = 12; // u16
export const VIRTQ_PACKED_FLAGS = 14; // u16
export const VIRTQ_DESC_SIZE = 16;
export const VIRTQ_NEXT = 1;
export const VIRTQ_WRITE = 2;
export const VIRTQ_INDIRECT = 4;
export const VIRTQ_AVAIL = 0x80;
export const VIRTQ_USED = 0x8000;

// Split: available ring [2.7.6] and used ring [2.7.8]; each ends with the other side's event index [2.7.10].
export const VIRTQ_RING_FLAGS = 0; // u16, 1: do not interrupt, do not notify
export const VIRTQ_RING_INDEX = 2; // u16
export const VIRTQ_RING_ENTRIES = 4; // avail: u16 each; used: u32 id, u32 length each

// Packed: event suppression structure [2.8.14].
export const VIRTQ_EVENT_OFFSET = 0; // u16, slot in bits 0 to 14, wrap counter in bit 15
export const VIRTQ_EVENT_FLAGS = 2; // u16, below
export const VIRTQ_EVENT_ENABLE = 0;
export const VIRTQ_EVENT_DISABLE = 1;
export const VIRTQ_EVENT_AT = 2;

// Network header [5.1.6]: 12 bytes, 20 with a hash report.
export const VNET_FLAGS = 0; // u8
export const VNET_GSO = 1; // u8
export const VNET_HEADERS = 2; // u16, bytes of all headers of a super-frame
export const VNET_SEGMENT = 4; // u16, payload bytes a segment
export const VNET_CHECKSUM_START = 6; // u16
export const VNET_CHECKSUM_OFFSET = 8; // u16, from the start
export const VNET_BUFFERS = 10; // u16, receive: how many buffers the packet fills
export const VNET_HASH = 12; // u32
export const VNET_HASH_TYPE = 16; // u16, 0: none
export const VNET_SIZE = 12;
export const VNET_HASHED_SIZE = 20;
export const VNET_NEEDS_CHECKSUM = 1;
export const VNET_DATA_VALID = 2;
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCP4 = 1;
export const VNET_GSO_TCP6 = 4;
export const VNET_GSO_UDP = 5;

// What the driver keeps of a queue, where no device can reach it.
export const VQ_FLAGS = 0; // u32, below
export const VQ_SIZE = 4; // u32, a power of two
export const VQ_DESCS = 8; // u32, arena offset of the descriptors
export const VQ_DRIVER = 12; // u32, of the available ring, or of the driver's event suppression
export const VQ_DEVICE = 16; // u32, of the used ring, or of the device's event suppression
export const VQ_OWNER = 20; // u32, the owner that frames in the queue carry
export const VQ_BIAS = 24; // u64, IOVA - arena offset
export const VQ_RECORDS = 32; // u32, of one record an id
export const VQ_TABLES = 36; // u32, of one indirect table an id, or 0
export const VQ_HEADERS = 40; // u32, of one network header an id
export const VQ_HEADER_BYTES = 44; // u32, 12 or 20
export const VQ_FREE = 48; // u32, free descriptors
export const VQ_FREE_ID = 52; // u32, first free id
export const VQ_NEXT = 56; // u32, split: free-running index; packed: next slot
export const VQ_USED = 60; // u32, split: free-running index; packed: next slot
export const VQ_WRAPS = 64; // u32, packed: wrap counters, bit 0 of NEXT, bit 1 of USED
export const VQ_ADDED = 68; // u32, descriptors published since the last notification
export const VQ_HELD_SLOT = 72; // u32, packed: slot whose flags publish the batch
export const VQ_HELD_FLAGS = 76; // u32, or 0
export const VQ_STAGGER = 80; // u32, mask of the frame number's bits that stagger its headroom
export const VQ_FAULT = 84; // u32, 0 or what the device did that it must not; the queue then stands still
export const VQ_FAULT_ID = 88; // u32
export const VQ_OUTSTANDING = 92; // u32, packets or buffers that the device has
export const VQ_PACKETS = 96; // u64, completed
export const VQ_BYTES = 104; // u64
export const VQ_RUNTS = 112; // u64, shorter than their header
export const VQ_TOO_LONG = 120; // u64, more fragments than a burst holds
export const VQ_DRY = 128; // u64, times that the pool had no frame to post
export const VQ_UNOFFERED = 136; // u64, packets that ask for an offload which was not negotiated
export const VQ_NUMBER = 144; // u32, of the queue pair
export const VQ_SCRATCH = 148; // u32, arena offset of DATAGRAM_HEAD_LIMIT bytes, for headers that lie in several fragments
export const VQ_STRUCT_SIZE = 192;

// VQ_FLAGS
export const VQ_PACKED = 1;
export const VQ_EVENTS = 2;
export const VQ_MERGE = 4;
/** Buffers of this queue are written by the device. */
export const VQ_RECEIVE = 8;
export const VQ_CHECKSUM = 16;
export const VQ_TCP4 = 32;
export const VQ_TCP6 = 64;
export const VQ_UDP = 128;
export const VQ_HASHED = 256;

// One record an id: which frames the device has under it.
export const RECORD_NEXT = 0; // u32, next free id; split: next descriptor of the chain
export const RECORD_COUNT = 4; // u32, frames; 0: the device does not have this id
export const RECORD_SLOTS = 8; // u32, descriptors it takes in the ring
export const RECORD_BYTES = 12; // u32, bytes of the packet, or that may be written
export const RECORD_FRAMES = 16; // u32 addresses
export const RECORD_SIZE = 96;
/** Fragments of one packet on its way out, beside its linear part. */
export const VIRTIO_FRAGMENTS = 17;
/** Descriptors of an indirect table: the header, the linear part, the fragments. */
export const TABLE_DESCS = 20;
export const HEADER_SLOT = 32;

// VQ_FAULT
export const VQ_FAULT_ID_UNKNOWN = 1;
export const VQ_FAULT_INDEX = 2;
export const VQ_FAULT_LENGTH = 3;
export const VQ_FAULT_BUFFERS = 4;
