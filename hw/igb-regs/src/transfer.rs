//! Receive and transmit: control, and the rings of the first four queues.

nook_regs::registers! {
    /// What moves frames.
    pub(crate) static TRANSFER = "igb: transfer", bar 0, 0x2_0000 bytes;

    /// Receive control.
    RCTL: u32 at 0x0_0100, Rw, "8.10", needs(Link(RCTL::RXEN)) {
        /// Receives.
        RXEN = 1,
        /// Stores bad packets.
        SBP = 2,
        /// Takes every unicast frame.
        UPE = 3,
        /// Takes every multicast frame.
        MPE = 4,
        /// Takes frames longer than 1522 bytes, up to RLPML.
        LPE = 5,
        /// Loopback.
        LBM = 6..=7,
        /// Which 12 bits of the address index the multicast table.
        MO = 12..=13,
        /// Takes broadcast frames.
        BAM = 15,
        /// Buffer size: 2048, 1024, 512, 256 bytes, for queues whose SRRCTL has none.
        BSIZE = 16..=17,
        /// Filters by VLAN.
        VFE = 18,
        /// Strips the frame check sequence.
        SECRC = 26,
    }
    /// Transmit control.
    TCTL: u32 at 0x0_0400, Rw, "8.12", needs(Link(TCTL::EN)) {
        /// Transmits.
        EN = 1,
        /// Pads short packets to 64 bytes.
        PSP = 3,
        /// Attempts after collisions.
        CT = 4..=11,
        /// Sends again after a late collision.
        RTLC = 24,
    }
    /// Transmit control, second part.
    TCTL_EXT: u32 at 0x0_0404, Rw, "8.12" {
        /// Collision distance in byte times.
        COLD = 10..=19,
    }
    /// Flow control: the receive buffer is empty enough for XON.
    FCRTL: u32 at 0x0_2160, Rw, "8.5";
    /// Flow control: the receive buffer is so full that XOFF is sent.
    FCRTH: u32 at 0x0_2168, Rw, "8.5";
    /// How much of the packet buffer is for received frames, in KiB.
    RXPBS: u32 at 0x0_2404, Ro, "8.3";
    /// Receive rings: address, low 32 bits; 128-byte aligned.
    RDBAL: [u32; 4; 0x100] at 0x0_2800, Rw, "8.10", write(DmaBase);
    /// Receive rings: address, high 32 bits.
    RDBAH: [u32; 4; 0x100] at 0x0_2804, Rw, "8.10", write(DmaBaseHigh);
    /// Receive rings: length in bytes, a multiple of 128.
    RDLEN: [u32; 4; 0x100] at 0x0_2808, Rw, "8.10";
    /// How received frames lie in buffers and descriptors.
    SRRCTL: [u32; 4; 0x100] at 0x0_280c, Rw, "8.10" {
        /// Buffer size, in KiB.
        BSIZEPACKET = 0..=6,
        /// Buffer size of headers, in units of 64 bytes.
        BSIZEHEADER = 8..=11,
        /// 0 is the legacy layout of descriptors, 1 the advanced one.
        DESCTYPE = 25..=27,
        /// Drops frames for which there is no descriptor.
        DROP_EN = 31,
    }
    /// Receive rings: the next descriptor that hardware uses.
    RDH: [u32; 4; 0x100] at 0x0_2810, Rw, "8.10";
    /// Receive rings: the first descriptor that hardware may not use.
    RDT: [u32; 4; 0x100] at 0x0_2818, Rw, "8.10", write(Doorbell);
    /// Receive descriptor control.
    RXDCTL: [u32; 4; 0x100] at 0x0_2828, Rw, "8.10" {
        /// Prefetches below this.
        PTHRESH = 0..=4,
        /// Host threshold.
        HTHRESH = 8..=12,
        /// Number of descriptors that are written back at a time.
        WTHRESH = 16..=20,
        /// The queue works.
        ENABLE = 25,
    }
    /// Transmit rings: address, low 32 bits; 128-byte aligned.
    TDBAL: [u32; 4; 0x100] at 0x0_3800, Rw, "8.12", write(DmaBase);
    /// Transmit rings: address, high 32 bits.
    TDBAH: [u32; 4; 0x100] at 0x0_3804, Rw, "8.12", write(DmaBaseHigh);
    /// Transmit rings: length in bytes, a multiple of 128.
    TDLEN: [u32; 4; 0x100] at 0x0_3808, Rw, "8.12";
    /// Transmit rings: the next descriptor that hardware sends.
    TDH: [u32; 4; 0x100] at 0x0_3810, Rw, "8.12";
    /// Transmit rings: the first descriptor that hardware may not send.
    TDT: [u32; 4; 0x100] at 0x0_3818, Rw, "8.12", write(Doorbell);
    /// Transmit descriptor control.
    TXDCTL: [u32; 4; 0x100] at 0x0_3828, Rw, "8.12", fields(RXDCTL::FIELDS);
    /// An address at which the card would write how far it is, low 32 bits. Forbidden: drivers read descriptors.
    TDWBAL: [u32; 4; 0x100] at 0x0_3838, Forbidden, "8.12";
    /// The same, high 32 bits.
    TDWBAH: [u32; 4; 0x100] at 0x0_383c, Forbidden, "8.12";
    /// Receive checksums.
    RXCSUM: u32 at 0x0_5000, Rw, "8.10" {
        /// Checks IP headers.
        IPOFL = 8,
        /// Checks TCP and UDP.
        TUOFL = 9,
        /// Checks SCTP.
        CRCOFL = 11,
        /// Descriptors hold the RSS hash in place of the packet checksum.
        PCSD = 13,
    }
    /// How long frames may be, with RCTL.LPE.
    RLPML: u32 at 0x0_5004, Rw, "8.10";
    /// Several receive queues.
    MRQC: u32 at 0x0_5818, Rw, "8.10";
    /// To which queue each value of the RSS hash goes, four to a register.
    RETA: [u32; 32; 4] at 0x0_5c00, Rw, "8.10";
    /// The key of the RSS hash.
    RSSRK: [u32; 10; 4] at 0x0_5c80, Rw, "8.10";
}
