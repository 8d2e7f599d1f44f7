//! What the 82574 has and its elders have not. Sections are those of Intel's *82574 GbE Controller Family Datasheet*,
//! revision 3.4 (317694), with the chip's name before them.
//!
//! The two generations have nearly all registers in common, so they share one map. An 82540 ignores what stands here;
//! what the 82574 has beside it (the alias of CTRL at 4, the second queues) is named nowhere and so is nobody's.

nook_regs::registers! {
    /// The 82574's own.
    pub(crate) static EXPRESS = "e1000: 82574", bar 0, 0x2_0000 bytes;

    /// Which of the vectored interrupts clear their causes by themselves.
    EIAC: u32 at 0x0_00dc, Rw, "82574 10.2.4.7", restore(Written);
    /// Which interrupts a read of ICR masks, with CTRL_EXT.IAME.
    IAM: u32 at 0x0_00e0, Rw, "82574 10.2.4", restore(Written);
    /// Which vector each cause has with MSI-X.
    IVAR: u32 at 0x0_00e4, Rw, "82574 10.2.4.9", restore(Written);
    /// Least time between two interrupts of each MSI-X vector.
    EITR: [u32; 5; 4] at 0x0_00e8, Rw, "82574 10.2.4", restore(Written) {
        /// In units of 256 ns; 0 is no limit.
        INTERVAL = 0..=15,
    }
    /// Who has the wires to the PHY.
    EXTCNF_CTRL: u32 at 0x0_0f00, Rw, "82574 4.5.2" {
        /// Software has them, or asks for them.
        MDIO_SW = 5,
        /// Hardware has them.
        MDIO_HW = 6,
        /// Management firmware has them.
        MDIO_MNG = 7,
    }
    /// Where the extended configuration is.
    EXTCNF_SIZE: u32 at 0x0_0f08, Forbidden, "82574 10.2.2";
    /// Management's access to non-volatile memory. Forbidden: it writes.
    EEMNGCTL: u32 at 0x0_1010, Forbidden, "82574 10.2.2";
    /// Flash timing. Forbidden.
    FLASHT: u32 at 0x0_1028, Forbidden, "82574 10.2.2";
    /// Writes one EEPROM word. Forbidden.
    EEWR: u32 at 0x0_102c, Forbidden, "82574 10.2.2";
    /// Flash commands. Forbidden: they write and erase.
    FLSWCTL: u32 at 0x0_1030, Forbidden, "82574 10.2.2";
    /// Data of a flash command. Forbidden.
    FLSWDATA: u32 at 0x0_1034, Forbidden, "82574 10.2.2";
    /// How long a flash command is. Forbidden.
    FLSWCNT: u32 at 0x0_1038, Forbidden, "82574 10.2.2";
    /// The flash's opcodes. Forbidden.
    FLOP: u32 at 0x0_103c, Forbidden, "82574 10.2.2";
    /// How transmit requests take turns, first queue.
    TARC0: u32 at 0x0_3840, Rw, "82574 10.2.6", restore(Written) {
        /// Reserved; Linux's and DPDK's drivers clear it.
        CLEAR = 27..=30,
        /// Reserved; Linux's and DPDK's drivers set it.
        SET = 26,
    }
    /// When transmit descriptors are fetched and written back, second queue. It is not used; drivers set it as the
    /// first.
    TXDCTL1: u32 at 0x0_3928, Rw, "82574 10.2.6", fields(crate::TXDCTL::FIELDS), restore(Written);
    /// How transmit requests take turns, second queue.
    TARC1: u32 at 0x0_3940, Rw, "82574 10.2.6", fields(TARC0::FIELDS), restore(Written);
    /// Interrupts.
    IAC: u32 at 0x0_4100, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Receive interrupts by the packet timer.
    ICRXPTC: u32 at 0x0_4104, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Receive interrupts by the absolute timer.
    ICRXATC: u32 at 0x0_4108, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Transmit interrupts by the packet timer.
    ICTXPTC: u32 at 0x0_410c, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Transmit interrupts by the absolute timer.
    ICTXATC: u32 at 0x0_4110, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Interrupts of an empty transmit ring.
    ICTXQEC: u32 at 0x0_4118, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Interrupts of a transmit ring with few descriptors left.
    ICTXQMTC: u32 at 0x0_411c, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Interrupts of a receive ring with few descriptors left.
    ICRXDMTC: u32 at 0x0_4120, Ro, "82574 10.2.7", read(ClearsAdd);
    /// Interrupts of a receiver that was overrun.
    ICRXOC: u32 at 0x0_4124, Ro, "82574 10.2.7", read(ClearsAdd);
    /// How frames are parsed before they are received.
    RFCTL: u32 at 0x0_5008, Rw, "82574 10.2.5", restore(Written) {
        /// Receive descriptors have the extended layout.
        EXSTEN = 15,
    }
    /// Several receive queues.
    MRQC: u32 at 0x0_5818, Rw, "82574 10.2.5", restore(Written);
    /// PCI Express control.
    GCR: u32 at 0x0_5b00, Rw, "82574 10.2.3", restore(Written) {
        /// Reserved; Linux's and DPDK's drivers set it against an erratum of the link's power states.
        SET = 22,
    }
    /// Semaphores between software and firmware. Reading takes the first one.
    SWSM: u32 at 0x0_5b50, Rw, "82574 10.2.3", read(Other) {
        /// A driver has it; set by being read, cleared by writing zero.
        SMBI = 0,
        /// Software has the parts that it shares with firmware.
        SWESMBI = 1,
    }
    /// What the firmware does.
    FWSM: u32 at 0x0_5b54, Ro, "82574 10.2.3";
    /// PCI Express control, second part.
    GCR2: u32 at 0x0_5b64, Rw, "82574 10.2.3", restore(Written) {
        /// Reserved; Linux's and DPDK's drivers set it against the same erratum.
        SET = 0,
    }
}
