//! What the 82574 has and its elders have not. Sections are those of Intel's *82574 GbE Controller Family Datasheet*,
//! revision 3.4 (317694), with the chip's name before them.
//!
//! The two generations have nearly all registers in common, so they share one map. An 82540 ignores what stands here;
//! what the 82574 has beside it (the alias of CTRL at 4, the second transmit queue) is named nowhere and so is
//! nobody's.

nook_regs::registers! {
    /// The 82574's own.
    pub(crate) static EXPRESS = "e1000: 82574", bar 0, 0x2_0000 bytes;

    /// Which of the vectored interrupts clear their causes by themselves.
    EIAC: u32 at 0x0_00dc, Rw, "82574 10.2.4.7", restore(Written);
    /// Which interrupts a read of ICR masks, with CTRL_EXT.IAME.
    IAM: u32 at 0x0_00e0, Rw, "82574 10.2.4", restore(Written);
    /// Which vector each cause has with MSI-X.
    IVAR: u32 at 0x0_00e4, Rw, "82574 10.2.4.9", restore(Written) {
        /// Vector of the first receive queue.
        RXQ0 = 0..=2,
        /// It has one.
        RXQ0_VALID = 3,
        /// Vector of the second receive queue.
        RXQ1 = 4..=6,
        /// It has one.
        RXQ1_VALID = 7,
        /// Vector of the first transmit queue.
        TXQ0 = 8..=10,
        /// It has one.
        TXQ0_VALID = 11,
        /// Vector of the second transmit queue.
        TXQ1 = 12..=14,
        /// It has one.
        TXQ1_VALID = 15,
        /// Vector of all other causes.
        OTHER = 16..=18,
        /// They have one.
        OTHER_VALID = 19,
        /// Each write-back of a transmit descriptor interrupts, whatever the descriptor says.
        EVERY_TX = 31,
    }
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
    /// Second receive ring: address, low 32 bits.
    RDBAL1: u32 at 0x0_2900, Rw, "82574 10.2.5", write(DmaBase), restore(Written);
    /// Second receive ring: address, high 32 bits.
    RDBAH1: u32 at 0x0_2904, Rw, "82574 10.2.5", write(DmaBaseHigh), restore(Written);
    /// Second receive ring: length in bytes.
    RDLEN1: u32 at 0x0_2908, Rw, "82574 10.2.5", fields(crate::RDLEN::FIELDS), restore(Written);
    /// Second receive ring: the next descriptor that hardware uses.
    RDH1: u32 at 0x0_2910, Rw, "82574 10.2.5", fields(crate::RDH::FIELDS), restore(Held);
    /// Second receive ring: the first descriptor that hardware may not use.
    RDT1: u32 at 0x0_2918, Rw, "82574 10.2.5", fields(crate::RDT::FIELDS), write(Doorbell), restore(Written);
    /// Receive descriptor control, second queue.
    RXDCTL1: u32 at 0x0_2928, Rw, "82574 10.2.5", fields(crate::RXDCTL::FIELDS), restore(Written);
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
    MRQC: u32 at 0x0_5818, Rw, "82574 10.2.5", restore(Written) {
        /// 1: two queues, by the RSS hash.
        ENABLE = 0..=1,
        /// Hashes addresses and ports of TCP over IPv4.
        TCP_IPV4 = 16,
        /// Hashes addresses of IPv4.
        IPV4 = 17,
        /// Hashes addresses and ports of TCP over IPv6.
        TCP_IPV6 = 18,
        /// Hashes addresses of IPv6, as its extension headers have them.
        IPV6_EX = 19,
        /// Hashes addresses of IPv6.
        IPV6 = 20,
    }
    /// To which queue each value of the RSS hash's lowest 7 bits goes, four to a register, a byte each.
    RETA: [u32; 32; 4] at 0x0_5c00, Rw, "82574 10.2.5", restore(Written);
    /// The key of the RSS hash, its first byte lowest in the first register.
    RSSRK: [u32; 10; 4] at 0x0_5c80, Rw, "82574 10.2.5", restore(Written);
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
