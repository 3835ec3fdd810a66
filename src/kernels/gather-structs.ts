// Structures of gather in the arena, read by its kernels and by TypeScript. Offsets in bytes.

// State of one gather.
export const G_MODE = 0; // u32, MODE_ bits
export const G_GAP = 4; // u32, GAP_ value
export const G_WINDOW = 8; // u32, datagrams, a power of two
export const G_OPEN = 12; // u32, chunks under way a stream
export const G_CHUNK_SIZE = 16; // u32, bytes; 0: the layout's own ends only
export const G_MAX_BYTES = 20; // u32, bytes of chunk memory at most
export const G_BYTES = 24; // u32, bytes of chunk memory in use
export const G_BUCKETS = 28; // u32, offset of the hash table's heads (u32 stream offsets)
export const G_BUCKET_MASK = 32; // u32
export const G_STREAM_FREE = 36; // u32, offset of the first free stream, linked by S_CHAIN
export const G_STREAM_USED = 40; // u32, streams in use
export const G_CHUNK_FREE = 44; // u32, offset of the first free chunk, linked by C_NEXT
export const G_HELD_FREE = 48; // u32, offset of the first free record, linked by H_NEXT
export const G_WINDOW_FREE = 52; // u32, offset of the first free window, linked by its first word
export const G_DONE = 56; // u32, offset of the queue of finished chunks (u32 offsets)
export const G_DONE_HEAD = 60; // u32, free-running; the kernel writes
export const G_DONE_TAIL = 64; // u32, free-running; TypeScript writes
export const G_DONE_MASK = 68; // u32
export const G_EVENTS = 72; // u32, offset of the gap events
export const G_EVENT_COUNT = 76; // u32
export const G_EVENT_LIMIT = 80; // u32
export const G_ALL_FIRST = 92; // u32, offset of the first stream of the list of all streams
export const G_LENT = 96; // u32, finished chunks that TypeScript has not given back
export const G_SEQUENCE_MASK = 104; // u64
export const G_ID_BOUNDS = 112; // u32, offset of the first and last chunk id (u64 each) of each case of the layout
export const G_READY = 116; // u32, bytes of the chunks that the run of datagrams under way has finished
export const G_NOW = 128; // f64, milliseconds, for timeouts
export const G_SECONDS = 136; // f64, wall clock, for packets that carry no time of their own
export const G_NANOSECONDS = 144; // u32
export const G_TIMEOUT = 152; // f64, milliseconds
export const G_COUNTERS = 160; // u64 each
export const G_SIZE = 512;

/** So many bytes of finished chunks end a run: whoever takes them finds them in the caches, and the next chunk takes their warm memory. */
export const READY_BYTES = 65_536;

export const MODE_OFFSET = 1; // placed by offset, else by sequence
export const MODE_ARRIVAL = 2; // by sequence, and the sequence is the order of arrival
export const MODE_LINKED = 4;
export const MODE_SUM = 8;
export const MODE_LIVE = 16; // never wait for memory: drop the chunk
export const MODE_ANY_PEER = 32; // the same stream may come from several senders
export const MODE_COUNTER = 64; // chunk ids count
export const MODE_HAS_START = 128;
export const MODE_HAS_END = 256;
export const MODE_EVENTS = 512;

export const GAP_ZERO = 0;
export const GAP_SKIP = 1;
export const GAP_DROP = 2;

// Counters, as numbers of u64 from G_COUNTERS.
export const N_DATA = 0; // datagrams taken into chunks
export const N_DATA_BYTES = 1;
export const N_CONTROL = 2;
export const N_CONTROL_BYTES = 3;
export const N_DUPLICATE = 4;
export const N_LATE = 5;
export const N_MALFORMED = 6;
export const N_OTHER = 7;
export const N_STREAMS = 8; // dropped: no room for another stream
export const N_MEMORY = 9; // dropped: no memory within the bound
export const N_OUTPUT = 10; // dropped: their chunk found no memory because the output is slow
export const N_REORDERED = 11;
export const N_RESYNC = 12;
export const N_GAP_DATAGRAMS = 13;
export const N_GAP_BYTES = 14;
export const N_COMPLETE = 15; // chunks
export const N_INCOMPLETE = 16;
export const N_DROPPED_CHUNKS = 17;
export const N_GAP = 18; // dropped: datagrams of chunks that were given up because of a gap
export const N_COPIED = 19; // bytes copied into chunks
export const N_MOVED = 20; // bytes copied again, because a chunk outgrew its memory or was closed up
export const N_HELD = 21; // datagrams waiting in windows or in chunks under way
export const N_LOST_CHUNKS = 22; // chunks of which nothing came, by a counter of ids
export const N_OPENED = 23; // streams seen

// Stream.
export const S_CHAIN = 0; // u32, next in its bucket, or in the free list
export const S_PEER = 4; // u32
export const S_LOW = 8; // u64, the layout's key
export const S_HIGH = 16; // u64
export const S_FLAGS = 24; // u32, STREAM_ bits
export const S_NUMBER = 28; // u32, counts streams from 0: never given twice
export const S_NEXT = 32; // u64, the sequence number that comes next
export const S_TOP = 40; // u64, one more than the highest sequence number seen
export const S_WINDOW = 48; // u32, offset of its window: 2 × G_WINDOW words; 0: none so far
export const S_HELD = 52; // u32, records in its window
export const S_PROBATION = 56; // u32, record that jumped, or 0
export const S_UNIT = 60; // u32, bytes of a full datagram in the last chunk
export const S_PROBATION_NEXT = 64; // u64, what has to follow for the jump to be a restart
export const S_FIRST = 72; // u32, oldest chunk under way
export const S_LAST = 76; // u32, newest
export const S_OPEN = 80; // u32, how many
export const S_CURRENT = 84; // u32, chunk last placed into
export const S_LAST_LENGTH = 88; // u32, bytes of the last finished chunk: the guess for the next
export const S_PREVIOUS_ALL = 92; // u32, list of all streams
export const S_NEXT_ALL = 96; // u32
export const S_PENDING_LOST = 100; // u32, datagrams lost while no chunk was under way
export const S_CHANGED = 104; // u64
export const S_PROGRESS = 112; // f64, G_NOW when last something came
export const S_CHUNKS = 120; // u64, chunks begun: their number where the layout has no id
export const S_OUT = 128; // u64, id of the last chunk that went out
export const S_RECENT = 136; // 8 × u64, ids of the last chunks out
export const S_RECENT_STATE = 200; // 8 × u8, 1 complete, 2 not
export const S_RECENT_AT = 208; // u32, free-running
export const S_PENDING_FIRST = 216; // u64, first of S_PENDING_LOST
export const S_SUB_OUT = 224; // u32, part (by chunk size) of the last chunk that went out
export const S_BIRTH = 232; // f64, G_NOW when the stream began
export const S_RECENT_SUB = 240; // 8 × u32, parts of the last chunks out
export const S_RESUME = 272; // u32, bytes of the next datagram that are delivered already
export const S_ID_FIRST = 280; // u64, first and last value of the counter that names its chunks
export const S_ID_LAST = 288; // u64
export const S_SIZE = 296;

export const STREAM_STARTED = 1; // S_NEXT is settled
export const STREAM_HAS_CHANGED = 2;
export const STREAM_HAS_OUT = 4;
export const STREAM_SKIP = 8; // by sequence: what comes until the next end belongs to a chunk that was dropped

// Values of a window's words that are not offsets of records.
export const SLOT_EMPTY = 0;
export const SLOT_DELIVERED = 1;
export const SLOT_LOST = 2;

// Chunk.
export const C_NEXT = 0; // u32, next in the stream's order, or in the free list
export const C_STREAM = 4; // u32
export const C_FLAGS = 8; // u32, CHUNK_ bits
export const C_ADDRESS = 12; // u32, its memory; 0: none so far, or linked
export const C_CAPACITY = 16; // u32, bytes claimed
export const C_LENGTH = 20; // u32, end of the data so far
export const C_RECEIVED = 24; // u32, bytes received
export const C_PACKETS = 28; // u32, datagrams in it
export const C_ID = 32; // u64
export const C_SUB = 40; // u32, its part, where the chunk size cuts
export const C_EXPECTED = 44; // u32, bytes it will have (CHUNK_SIZED), or datagrams (CHUNK_COUNTED)
export const C_FIRST_SECONDS = 48; // f64
export const C_LAST_SECONDS = 56; // f64
export const C_FIRST_NANOSECONDS = 64; // u32
export const C_LAST_NANOSECONDS = 68; // u32
export const C_RANGES = 72; // list: what came (by offset), or the pieces (linked)
export const C_MISSING = 84; // list: what did not
export const C_SUM = 96; // u64, running sum of 16-bit words
export const C_ANCHOR = 104; // u32, by datagram: position of its first datagram, for when the unit turns out larger
export const C_UNIT = 108; // u32, by datagram: bytes of a full one
export const C_HEADS = 112; // u32, how many heads are kept
export const C_HEAD_DATA = 116; // CHUNK_HEADS × CHUNK_HEAD_BYTES
export const CHUNK_HEADS = 4;
export const CHUNK_HEAD_BYTES = 264; // u32 kind, u32 length, 256 bytes
// Whose chunk it is, kept here because the stream may be gone before the chunk is.
export const C_PEER = 1172; // u32
export const C_LOW = 1176; // u64
export const C_HIGH = 1184; // u64
export const C_DATAGRAMS = 1192; // u32, by datagram: how many its end says it has; 0: not told
export const C_SIZE = 1200;

export const CHUNK_SIZED = 1;
export const CHUNK_COUNTED = 2;
export const CHUNK_STARTED = 4;
export const CHUNK_ENDED = 8;
export const CHUNK_DONE = 16; // nothing more is waited for; goes out when it is the oldest
export const CHUNK_COMPLETE = 32;
export const CHUNK_OVERRUN = 64; // dropped for lack of memory: swallows what still comes for it
export const CHUNK_LINKED = 128;

// List: u32 address, u32 capacity, u32 count; entries of 16 bytes in memory of whole frames.
export const LIST_ADDRESS = 0;
export const LIST_CAPACITY = 4;
export const LIST_COUNT = 8;
export const RANGE_START = 0; // u32 (missing by sequence: the low half of a u64 sequence number)
export const RANGE_END = 4; // u32
export const RANGE_ADDRESS = 8; // u32, linked: where the piece lies
export const RANGE_SIZE = 16;

// Held datagram: 96 bytes, chained where it has more pieces than fit.
export const H_NEXT = 0; // u32
export const H_FLAGS = 4; // u32, the cut's flags
export const H_CHANGED = 8; // u64
export const H_SECONDS = 16; // f64
export const H_NANOSECONDS = 24; // u32
export const H_PIECES = 28; // u32, of this record
export const H_PIECE = 32; // u32 address, u32 length each
export const H_PIECE_LIMIT = 7;
export const H_HEAD = 88; // u32, address of the datagram's first byte, where its head is to be kept; or 0
export const H_HEAD_LENGTH = 92; // u16
export const H_HEAD_KIND = 94; // u16
export const H_SIZE = 96;

// Gap event, 32 bytes.
export const E_STREAM = 0; // u32
export const E_UNIT = 4; // u32, 0 bytes, 1 datagrams
export const E_CHUNK = 8; // u64
export const E_FIRST = 16; // u64
export const E_COUNT = 24; // u64
export const E_SIZE = 32;
