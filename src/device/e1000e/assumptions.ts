// What the driver takes for granted beyond the registers. Code that leans on one names it.

/** At most this many queues of each direction (datasheet, product features; 10.2.6 has two transmit queues' registers). */
export const QUEUES = 2;

/** Vectors 0 and 1: receive queues; 2 and 3: transmit queues; 4: link and everything else (Linux: e1000_configure_msix). */
export const VECTORS = 5;

/** The fewest and most descriptors of a ring: its bytes are a multiple of 128 (RDLEN, TDLEN), powers of two here. */
export const RING_LEAST = 64;
export const RING_MOST = 4096;

/** A reset is over within this many milliseconds, or the card is broken (Linux waits 10). */
export const RESET_MILLISECONDS = 50;

/** Bus mastering has stopped within this many milliseconds of CTRL_MASTER_DISABLE (Linux waits 80). */
export const MASTER_MILLISECONDS = 100;

/** The link is up within this many milliseconds of being asked for; autonegotiation takes up to 3 s. */
export const LINK_MILLISECONDS = 5000;

/** A transmit descriptor that is not reported for this long while the link is up hangs. */
export const HUNG_MILLISECONDS = 2000;

/** Fragments beside the linear part. The card sets no limit but its ring; QEMU's drops packets of more than 64 pieces. */
export const FRAGMENTS = 60;

/** The longest frame on the wire without and with long packets, without its check sequence. */
export const STANDARD_BYTES = 1518;
export const LONG_BYTES = 9018;

/** Bytes of the packet buffer for receiving after a reset (PBA: 20 KB each way). */
export const RECEIVE_BUFFER = 20 * 1024;

/** A register that reads all ones where it cannot be: the card no longer answers (PCI Express: completer gone). */
export const ALL_ONES = 0xffffffff;
