//! Device control, EEPROM, PHY access, interrupts, address filters, wake-up.

nook_regs::registers! {
    /// What is neither a ring nor a counter.
    pub(crate) static GENERAL = "e1000: general", bar 0, 0x2_0000 bytes;

    /// Device control.
    CTRL: u32 at 0x0_0000, Rw, "13.4.1", write(Reset(CTRL::RST | CTRL::PHY_RST)), restore(ResetBy(CTRL::RST)), needs(Open(CTRL::SLU)) {
        /// Full duplex; counts only with `FRCDPLX`.
        FD = 0,
        /// 82574: no new DMA is begun (82574, section 10.2.2.1).
        GIO_MASTER_DISABLE = 2,
        /// Link reset (fibre).
        LRST = 3,
        /// Detects the speed automatically from the PHY's receive clock.
        ASDE = 5,
        /// Set link up: lets the MAC see the PHY's link.
        SLU = 6,
        /// Inverts the loss-of-signal input.
        ILOS = 7,
        /// Forced speed: 0 is 10, 1 is 100, 2 is 1000 Mbit/s.
        SPEED = 8..=9,
        /// The speed is what `SPEED` says.
        FRCSPD = 11,
        /// The duplex mode is what `FD` says.
        FRCDPLX = 12,
        /// Value of the software-definable pin 0.
        SDP0_DATA = 18,
        /// Value of the software-definable pin 1.
        SDP1_DATA = 19,
        /// Wakes from D3 without auxiliary power.
        ADVD3WUC = 20,
        /// Lets the PHY save power.
        EN_PHY_PWR_MGMT = 21,
        /// Pin 0 is an output.
        SDP0_IODIR = 22,
        /// Pin 1 is an output.
        SDP1_IODIR = 23,
        /// Resets everything but PCI configuration; clears itself.
        RST = 26,
        /// Obeys received PAUSE frames.
        RFCE = 27,
        /// Sends PAUSE frames.
        TFCE = 28,
        /// Strips VLAN tags on receive and inserts them on transmit.
        VME = 30,
        /// Resets the PHY while it is set.
        PHY_RST = 31,
    }
    /// Device status. Drivers read it to push posted writes out.
    STATUS: u32 at 0x0_0008, Ro, "13.4.2", posts_only(), held_up(STATUS::TXOFF), link(Set(STATUS::LU)) {
        /// Full duplex.
        FD = 0,
        /// Link up.
        LU = 1,
        /// Which function of a two-port chip.
        FUNC_ID = 2..=3,
        /// The transmitter is paused by flow control.
        TXOFF = 4,
        /// Fibre (ten-bit interface) mode.
        TBIMODE = 5,
        /// Link speed: 0 is 10, 1 is 100, 2 or 3 is 1000 Mbit/s.
        SPEED = 6..=7,
        /// Automatically detected speed.
        ASDV = 8..=9,
        /// The bus runs at 66 MHz.
        PCI66 = 11,
        /// The bus is 64 bits wide.
        BUS64 = 12,
        /// PCI-X.
        PCIX_MODE = 13,
        /// PCI-X speed.
        PCIXSPD = 14..=15,
        /// 82574: DMA is allowed or still under way (82574, section 10.2.2.2).
        GIO_MASTER_ENABLE = 19,
    }
    /// EEPROM and flash pins. What could write or erase is refused.
    EECD: u32 at 0x0_0010, Rw, "13.4.3", guard(crate::eeprom::GUARD) {
        /// Clock.
        SK = 0,
        /// Chip select.
        CS = 1,
        /// Data into the EEPROM.
        DI = 2,
        /// Data out of the EEPROM.
        DO = 3,
        /// Flash write enable: 1 is no, 2 is yes.
        FWE = 4..=5,
        /// Asks for the EEPROM.
        EE_REQ = 6,
        /// The EEPROM is software's.
        EE_GNT = 7,
        /// There is an EEPROM.
        EE_PRES = 8,
        /// 256 words instead of 64. 82574: the configuration was read (82574, section 10.2.2.3).
        EE_SIZE = 9,
        /// 82574: writes the flash (82574, section 10.2.2.3).
        FLUPD = 19,
        /// 82574: lets hardware write the flash when it likes (82574, section 10.2.2.3).
        AUPDEN = 20,
    }
    /// Reads one EEPROM word.
    EERD: u32 at 0x0_0014, Rw, "13.4.4" {
        /// Starts a read.
        START = 0,
        /// The read is done.
        DONE = 4,
        /// Which word.
        ADDR = 8..=15,
        /// The word.
        DATA = 16..=31,
    }
    /// Extended device control.
    CTRL_EXT: u32 at 0x0_0018, Rw, "13.4.6", write(Reset(CTRL_EXT::EE_RST)), restore(Written) {
        /// General-purpose interrupts, one enable bit for each of the pins 4 to 7.
        GPI_EN = 0..=3,
        /// Values of the pins 6 and 7.
        SDP_DATA = 6..=7,
        /// Directions of the pins 6 and 7.
        SDP_IODIR = 10..=11,
        /// Starts a speed detection.
        ASDCHK = 12,
        /// Reads the configuration from the EEPROM again; clears itself.
        EE_RST = 13,
        /// Inverts the PHY's power state.
        IPS = 14,
        /// Bypasses speed selection.
        SPD_BYPS = 15,
        /// Turns relaxed ordering off.
        RO_DIS = 17,
        /// What is behind the MAC: 0 is the internal PHY.
        LINK_MODE = 22..=23,
        /// 82574: reading ICR changes the mask as IAM says (82574, section 10.2.2.5).
        IAME = 27,
        /// 82574: tells the management firmware that a driver has the chip (82574, section 10.2.2.5).
        DRV_LOAD = 28,
        /// 82574: a message is pending no longer when its causes are gone (82574, section 10.2.2.5).
        PBA_SUPPORT = 31,
    }
    /// Flash access. Forbidden: it writes non-volatile memory.
    FLA: u32 at 0x0_001c, Forbidden, "13.4.5";
    /// Access to the PHY's registers.
    MDIC: u32 at 0x0_0020, Rw, "13.4.7" {
        /// The 16-bit value.
        DATA = 0..=15,
        /// Which PHY register.
        REGADD = 16..=20,
        /// Which PHY.
        PHYADD = 21..=25,
        /// 1 writes, 2 reads.
        OP = 26..=27,
        /// Ready.
        R = 28,
        /// Interrupts (MDAC) when ready.
        I = 29,
        /// The access failed.
        E = 30,
    }
    /// Flow control address, low 32 bits.
    FCAL: u32 at 0x0_0028, Rw, "13.4.8", restore(Written);
    /// Flow control address, high 16 bits.
    FCAH: u32 at 0x0_002c, Rw, "13.4.9", restore(Written);
    /// Flow control type.
    FCT: u32 at 0x0_0030, Rw, "13.4.10", restore(Written);
    /// VLAN ether type.
    VET: u32 at 0x0_0038, Rw, "13.4.11", restore(Written) {
        /// The type, in host order.
        VET = 0..=15,
    }
    /// Interrupt causes. Reading clears all of them.
    ICR: u32 at 0x0_00c0, Rw, "13.4.17", read(ClearsOr), write(OneClears) {
        /// A transmit descriptor that asked for it was written back.
        TXDW = 0,
        /// The transmit ring is empty.
        TXQE = 1,
        /// The link went up or down.
        LSC = 2,
        /// Receive sequence error (fibre).
        RXSEQ = 3,
        /// Few receive descriptors are left.
        RXDMT0 = 4,
        /// A frame was lost for want of room.
        RXO = 6,
        /// Frames were received.
        RXT0 = 7,
        /// A PHY access is done.
        MDAC = 9,
        /// /C/ ordered sets arrive (fibre).
        RXCFG = 10,
        /// The PHY interrupts.
        PHYINT = 12,
        /// General-purpose pins 6 and 7.
        GPI = 13..=14,
        /// Few transmit descriptors are left.
        TXD_LOW = 15,
        /// A small packet was received.
        SRPD = 16,
        /// 82574: descriptors of a receive queue were written back (82574, section 10.2.4.1).
        RXQ0 = 20,
        /// The same of the second receive queue.
        RXQ1 = 21,
        /// 82574: descriptors of a transmit queue were written back.
        TXQ0 = 22,
        /// The same of the second transmit queue.
        TXQ1 = 23,
        /// 82574: there is a cause of another kind.
        OTHER = 24,
    }
    /// Least time between two interrupts.
    ITR: u32 at 0x0_00c4, Rw, "13.4.18", restore(Written) {
        /// In units of 256 ns; 0 is no limit.
        INTERVAL = 0..=15,
    }
    /// Sets interrupt causes (bits of ICR).
    ICS: u32 at 0x0_00c8, Wo, "13.4.19", fields(ICR::FIELDS);
    /// Enables interrupt causes (bits of ICR) by writing ones; reads what is enabled.
    IMS: u32 at 0x0_00d0, Rw, "13.4.20", fields(ICR::FIELDS), restore(Mask);
    /// Disables interrupt causes (bits of ICR) by writing ones.
    IMC: u32 at 0x0_00d8, Wo, "13.4.21", fields(ICR::FIELDS), restore(Quiet(0xffff_ffff));
    /// Flow control transmit timer.
    FCTTV: u32 at 0x0_0170, Rw, "13.4.12", restore(Written) {
        /// The time in a PAUSE frame.
        TTV = 0..=15,
    }
    /// Transmit configuration word (fibre auto-negotiation).
    TXCW: u32 at 0x0_0178, Rw, "13.4.13", restore(Written);
    /// Receive configuration word (fibre auto-negotiation).
    RXCW: u32 at 0x0_0180, Ro, "13.4.14";
    /// What the LEDs show.
    LEDCTL: u32 at 0x0_0e00, Rw, "13.4.15", restore(Written);
    /// How the packet buffer is divided.
    PBA: u32 at 0x0_1000, Rw, "13.4.16", restore(Written) {
        /// For receive, in KiB.
        RXA = 0..=15,
        /// For transmit, in KiB (what is left).
        TXA = 16..=31,
    }
    /// Multicast table: 4096 bits.
    MTA: [u32; 128; 4] at 0x0_5200, Rw, "13.5.1", restore(Written);
    /// Receive addresses, low 32 bits.
    RAL: [u32; 16; 8] at 0x0_5400, Rw, "13.5.2", restore(Written);
    /// Receive addresses, high 16 bits and control.
    RAH: [u32; 16; 8] at 0x0_5404, Rw, "13.5.3", restore(Written) {
        /// The fifth and sixth byte.
        ADDR = 0..=15,
        /// Compared with: 0 is the destination address.
        ASEL = 16..=17,
        /// The entry is valid.
        AV = 31,
    }
    /// VLAN filter table: 4096 bits.
    VFTA: [u32; 128; 4] at 0x0_5600, Rw, "13.5.4", restore(Written);
    /// Wake-up control.
    WUC: u32 at 0x0_5800, Rw, "13.6.1", restore(Written);
    /// Wake-up filters.
    WUFC: u32 at 0x0_5808, Rw, "13.6.2", restore(Written);
    /// Wake-up status.
    WUS: u32 at 0x0_5810, Ro, "13.6.3";
    /// Management control.
    MANC: u32 at 0x0_5820, Rw, "13.6", restore(Written) {
        /// Answers ARP requests by itself.
        ARP_EN = 13,
    }
    /// Which addresses for wake-up are valid.
    IPAV: u32 at 0x0_5838, Forbidden, "13.6.4";
    /// IPv4 addresses for wake-up.
    IP4AT: [u32; 4; 8] at 0x0_5840, Forbidden, "13.6.5";
    /// An IPv6 address for wake-up.
    IP6AT: [u32; 4; 4] at 0x0_5880, Forbidden, "13.6.6";
    /// Length of the packet that woke the machine.
    WUPL: u32 at 0x0_5900, Forbidden, "13.6.7";
    /// The packet that woke the machine.
    WUPM: [u32; 32; 4] at 0x0_5a00, Forbidden, "13.6.8";
    /// Lengths of the flexible wake-up filters.
    FFLT: [u32; 4; 8] at 0x0_5f00, Forbidden, "13.6.9";
    /// Masks of the flexible wake-up filters.
    FFMT: [u32; 128; 8] at 0x0_9000, Forbidden, "13.6.10";
    /// Values of the flexible wake-up filters.
    FFVT: [u32; 128; 8] at 0x0_9800, Forbidden, "13.6.11";
    /// The packet buffer itself. Forbidden: writing it changes frames under way.
    PBM: [u32; 16384; 4] at 0x1_0000, Forbidden, "13.8";
}

/// [`const@MDIC`] operation: write.
pub const MDIC_OP_WRITE: u32 = 1;
/// [`const@MDIC`] operation: read.
pub const MDIC_OP_READ: u32 = 2;
/// The address of the only PHY, for [`const@MDIC`] (section 13.4.7).
pub const MDIC_PHY: u32 = 1;

/// Speeds as the two-bit fields of [`const@CTRL`] and [`const@STATUS`] have them.
pub const SPEED_10: u32 = 0;
/// 100 Mbit/s.
pub const SPEED_100: u32 = 1;
/// 1000 Mbit/s.
pub const SPEED_1000: u32 = 2;

/// Nanoseconds in one step of [`const@ITR`] (section 13.4.18).
pub const ITR_STEP_NS: u64 = 256;
/// Nanoseconds in one step of the delay timers RDTR, RADV, TIDV and TADV (sections 13.4.30, 31, 41 and 44).
pub const DELAY_STEP_NS: u64 = 1024;
