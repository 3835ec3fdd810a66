// The 82574L's registers that this driver, its model and Linux's e1000e use, as data: offset in BAR 0, and where
// the datasheet describes it (Intel 82574 GbE Controller Family, order number 317694, revision 3.4). What a read or
// a write does besides moving the value is told by `kind`, which the model acts on.
//
// Offsets and bits are those of Linux's drivers/net/ethernet/intel/e1000e (regs.h, defines.h) too. A section that
// names a chapter only (10.2.2) was not compared with the datasheet number by number.

/**
 * `plain`: holds what was written. `read`: writes are ignored. `clear`: a counter that a read sets to 0 and that
 * sticks at all ones. `special`: has an effect of its own.
 */
export type RegisterKind = "plain" | "read" | "clear" | "special";

export interface Register {
  readonly name: string;
  readonly offset: number;
  readonly kind: RegisterKind;
  /** Section of the datasheet, or the chapter it is in. */
  readonly section: string;
}

const GENERAL = "10.2.2";
const PCIE = "10.2.3";
const INTERRUPT = "10.2.4";
const RECEIVE = "10.2.5";
const TRANSMIT = "10.2.6";
const STATISTICS = "10.2.7";

function register(name: string, offset: number, kind: RegisterKind, section: string): Register {
  return { name, offset, kind, section };
}

export const CTRL = register("CTRL", 0x0000, "special", "10.2.2.1");
export const STATUS = register("STATUS", 0x0008, "read", "10.2.2.2");
export const EERD = register("EERD", 0x0014, "special", GENERAL);
export const CTRL_EXT = register("CTRL_EXT", 0x0018, "plain", GENERAL);
export const MDIC = register("MDIC", 0x0020, "special", "10.2.2.7");
export const FCAL = register("FCAL", 0x0028, "plain", GENERAL);
export const FCAH = register("FCAH", 0x002c, "plain", GENERAL);
export const FCT = register("FCT", 0x0030, "plain", GENERAL);
export const VET = register("VET", 0x0038, "plain", GENERAL);
export const FCTTV = register("FCTTV", 0x0170, "plain", GENERAL);
export const FCRTL = register("FCRTL", 0x2160, "plain", RECEIVE);
export const FCRTH = register("FCRTH", 0x2168, "plain", RECEIVE);
export const PBA = register("PBA", 0x1000, "plain", GENERAL);
export const GCR = register("GCR", 0x5b00, "plain", PCIE);
export const SWSM = register("SWSM", 0x5b50, "plain", PCIE);
export const FWSM = register("FWSM", 0x5b54, "read", PCIE);

export const ICR = register("ICR", 0x00c0, "special", "10.2.4.1");
export const ITR = register("ITR", 0x00c4, "plain", "10.2.4.2");
export const ICS = register("ICS", 0x00c8, "special", "10.2.4.4");
export const IMS = register("IMS", 0x00d0, "special", "10.2.4.5");
export const IMC = register("IMC", 0x00d8, "special", "10.2.4.6");
export const EIAC = register("EIAC", 0x00dc, "plain", INTERRUPT);
export const IAM = register("IAM", 0x00e0, "plain", INTERRUPT);
export const IVAR = register("IVAR", 0x00e4, "plain", "10.2.4.9");
/** One a vector, 4 bytes apart; units of 256 ns. */
export const EITR = register("EITR", 0x00e8, "plain", "10.2.4.3");

export const RCTL = register("RCTL", 0x0100, "special", "10.2.5.1");
export const PSRCTL = register("PSRCTL", 0x2170, "plain", RECEIVE);
/** The registers of receive queue 1 stand 0x100 above those of queue 0. */
export const RDBAL = register("RDBAL", 0x2800, "plain", "10.2.5.5");
export const RDBAH = register("RDBAH", 0x2804, "plain", "10.2.5.6");
export const RDLEN = register("RDLEN", 0x2808, "plain", "10.2.5.7");
export const RDH = register("RDH", 0x2810, "plain", "10.2.5.8");
export const RDT = register("RDT", 0x2818, "special", "10.2.5.9");
export const RDTR = register("RDTR", 0x2820, "plain", "10.2.5.10");
export const RXDCTL = register("RXDCTL", 0x2828, "plain", "10.2.5.11");
export const RADV = register("RADV", 0x282c, "plain", RECEIVE);
export const RXCSUM = register("RXCSUM", 0x5000, "plain", RECEIVE);
export const RFCTL = register("RFCTL", 0x5008, "plain", RECEIVE);
/** 128 words: a bit for each of 4,096 hashes of a multicast address. */
export const MTA = register("MTA", 0x5200, "plain", "10.2.5.21");
/** 16 pairs of low and high: exact addresses. */
export const RAL = register("RAL", 0x5400, "plain", "10.2.5.22");
export const RAH = register("RAH", 0x5404, "plain", "10.2.5.23");
/** 128 words: a bit for each VLAN. */
export const VFTA = register("VFTA", 0x5600, "plain", RECEIVE);
export const MRQC = register("MRQC", 0x5818, "plain", RECEIVE);
/** 32 words: 128 bytes, bit 7 of each the queue. */
export const RETA = register("RETA", 0x5c00, "plain", RECEIVE);
/** 10 words: the Toeplitz key, first byte lowest. */
export const RSSRK = register("RSSRK", 0x5c80, "plain", RECEIVE);

export const TCTL = register("TCTL", 0x0400, "special", "10.2.6.1");
export const TIPG = register("TIPG", 0x0410, "plain", "10.2.6.2");
export const TDBAL = register("TDBAL", 0x3800, "plain", "10.2.6.4");
export const TDBAH = register("TDBAH", 0x3804, "plain", "10.2.6.5");
export const TDLEN = register("TDLEN", 0x3808, "plain", "10.2.6.6");
export const TDH = register("TDH", 0x3810, "plain", "10.2.6.7");
export const TDT = register("TDT", 0x3818, "special", "10.2.6.8");
export const TIDV = register("TIDV", 0x3820, "plain", TRANSMIT);
export const TXDCTL = register("TXDCTL", 0x3828, "plain", "10.2.6.11");
export const TADV = register("TADV", 0x382c, "plain", TRANSMIT);
export const TARC = register("TARC", 0x3840, "plain", TRANSMIT);

/** Distance between the registers of two queues. */
export const QUEUE_STRIDE = 0x100;

/** Counters, cleared by reading. The name is what `ethtool -S` users would look for. */
export const COUNTERS = {
  rx_crc_errors: register("CRCERRS", 0x4000, "clear", STATISTICS),
  rx_missed: register("MPC", 0x4010, "clear", STATISTICS),
  rx_flow_control_xon: register("XONRXC", 0x4048, "clear", STATISTICS),
  tx_flow_control_xon: register("XONTXC", 0x404c, "clear", STATISTICS),
  rx_flow_control_xoff: register("XOFFRXC", 0x4050, "clear", STATISTICS),
  tx_flow_control_xoff: register("XOFFTXC", 0x4054, "clear", STATISTICS),
  rx_good: register("GPRC", 0x4074, "clear", STATISTICS),
  rx_broadcast: register("BPRC", 0x4078, "clear", STATISTICS),
  rx_multicast: register("MPRC", 0x407c, "clear", STATISTICS),
  tx_good: register("GPTC", 0x4080, "clear", STATISTICS),
  rx_bytes: register("GORCL", 0x4088, "clear", STATISTICS),
  tx_bytes: register("GOTCL", 0x4090, "clear", STATISTICS),
  rx_no_buffer: register("RNBC", 0x40a0, "clear", STATISTICS),
  rx_undersize: register("RUC", 0x40a4, "clear", STATISTICS),
  rx_oversize: register("ROC", 0x40ac, "clear", STATISTICS),
  rx_total: register("TPR", 0x40d0, "clear", STATISTICS),
  tx_total: register("TPT", 0x40d4, "clear", STATISTICS),
  tx_multicast: register("MPTC", 0x40f0, "clear", STATISTICS),
  tx_broadcast: register("BPTC", 0x40f4, "clear", STATISTICS),
  tx_segmented: register("TSCTC", 0x40f8, "clear", STATISTICS),
} as const;
export type CounterName = keyof typeof COUNTERS;

export const BAR_BYTES = 0x20000;

// ── Bits, named as in the section of their register.

export const CTRL_FULL_DUPLEX = 1 << 0;
/** GIO Master Disable: no new bus master accesses are begun. */
export const CTRL_MASTER_DISABLE = 1 << 2;
/** Set Link Up. */
export const CTRL_SLU = 1 << 6;
export const CTRL_RST = 1 << 26;
/** Obeys PAUSE frames. */
export const CTRL_RFCE = 1 << 27;
/** Sends PAUSE frames. */
export const CTRL_TFCE = 1 << 28;
/** VLAN tags are taken off received frames and may be put on sent ones. */
export const CTRL_VME = 1 << 30;
export const STATUS_FULL_DUPLEX = 1 << 0;
export const STATUS_LINK_UP = 1 << 1;
export const STATUS_SPEED_1000 = 2 << 6;
export const STATUS_MASTER_ENABLED = 1 << 19;
/** The PBA-support bit and extended interrupt auto-mask, as MSI-X wants them. */
export const CTRL_EXT_EIAME = 1 << 24;
export const CTRL_EXT_PBA_CLR = 0x80000000;
export const EERD_DONE = 1 << 1;
export const MDIC_READY = 1 << 28;
export const MDIC_READ = 2 << 26;

export const RCTL_EN = 1 << 1;
/** Unicast promiscuous. */
export const RCTL_UPE = 1 << 3;
/** Multicast promiscuous. */
export const RCTL_MPE = 1 << 4;
/** Long packets: up to 16,384 bytes. */
export const RCTL_LPE = 1 << 5;
export const RCTL_DTYP_SPLIT = 1 << 10;
export const RCTL_MO_SHIFT = 12;
/** Accept broadcast. */
export const RCTL_BAM = 1 << 15;
export const RCTL_BSIZE_SHIFT = 16;
export const RCTL_VFE = 1 << 18;
export const RCTL_BSEX = 1 << 25;
/** Strip the frame check sequence. */
export const RCTL_SECRC = 1 << 26;
/** FCRTL: tells the other side when the pause is over. */
export const FCRTL_XON = 0x80000000;
export const RFCTL_EXSTEN = 1 << 15;
export const RXCSUM_IPOFL = 1 << 8;
export const RXCSUM_TUOFL = 1 << 9;
export const RXCSUM_PCSD = 1 << 13;
export const RAH_VALID = 0x80000000;
export const MRQC_RSS = 1;
export const MRQC_TCP_IPV4 = 1 << 16;
export const MRQC_IPV4 = 1 << 17;
export const MRQC_TCP_IPV6 = 1 << 18;
export const MRQC_IPV6 = 1 << 20;
export const RETA_QUEUE_1 = 0x80;
export const TCTL_EN = 1 << 1;
/** Pad short packets. */
export const TCTL_PSP = 1 << 3;
export const DCTL_GRAN = 1 << 24;

/** Causes, in ICR, ICS, IMS, IMC and EIAC. */
export const CAUSE_TXDW = 1 << 0;
export const CAUSE_LINK = 1 << 2;
export const CAUSE_RXT0 = 1 << 7;
export const CAUSE_RXQ0 = 1 << 20;
export const CAUSE_RXQ1 = 1 << 21;
export const CAUSE_TXQ0 = 1 << 22;
export const CAUSE_TXQ1 = 1 << 23;
export const CAUSE_OTHER = 1 << 24;
export const CAUSE_ASSERTED = 0x80000000;
/** IVAR: a vector number is valid with this bit beside it. */
export const IVAR_VALID = 8;

export const VENDOR_INTEL = 0x8086;
export const DEVICE_82574L = 0x10d3;
