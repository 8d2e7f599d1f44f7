//! What the 82574 has and its elders have not. Sections are those of Intel's *82574 GbE Controller Family Datasheet*,
//! revision 3.4 (317694), with the chip's name before them.
//!
//! The two generations have nearly all registers in common, so they share one map. An 82540 ignores what stands here;
//! what the 82574 has beside it (the alias of CTRL at 4, the second queues) is named nowhere and so is nobody's.

nook_regs::registers! {
    /// The 82574's own.
    pub(crate) static EXPRESS = "e1000: 82574", bar 0, 0x2_0000 bytes;

    /// Which of the vectored interrupts clear their causes by themselves.
    EIAC: u32 at 0x0_00dc, Rw, "82574 10.2.4.7";
    /// Which interrupts a read of ICR masks, with CTRL_EXT.IAME.
    IAM: u32 at 0x0_00e0, Rw, "82574 10.2.4";
    /// Which vector each cause has with MSI-X.
    IVAR: u32 at 0x0_00e4, Rw, "82574 10.2.4.9";
    /// Least time between two interrupts of each MSI-X vector.
    EITR: [u32; 5; 4] at 0x0_00e8, Rw, "82574 10.2.4" {
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
    TARC0: u32 at 0x0_3840, Rw, "82574 10.2.6" {
        /// Reserved; Linux's and DPDK's drivers clear it.
        CLEAR = 27..=30,
        /// Reserved; Linux's and DPDK's drivers set it.
        SET = 26,
    }
    /// How frames are parsed before they are received.
    RFCTL: u32 at 0x0_5008, Rw, "82574 10.2.5" {
        /// Receive descriptors have the extended layout.
        EXSTEN = 15,
    }
    /// Several receive queues.
    MRQC: u32 at 0x0_5818, Rw, "82574 10.2.5";
    /// PCI Express control.
    GCR: u32 at 0x0_5b00, Rw, "82574 10.2.3" {
        /// Reserved; Linux's and DPDK's drivers set it against an erratum of the link's power states.
        SET = 22,
    }
    /// Semaphores between software and firmware.
    SWSM: u32 at 0x0_5b50, Forbidden, "82574 10.2.3";
    /// What the firmware does.
    FWSM: u32 at 0x0_5b54, Ro, "82574 10.2.3";
    /// PCI Express control, second part.
    GCR2: u32 at 0x0_5b64, Rw, "82574 10.2.3" {
        /// Reserved; Linux's and DPDK's drivers set it against the same erratum.
        SET = 0,
    }
}
