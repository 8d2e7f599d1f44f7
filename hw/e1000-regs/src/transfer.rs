//! Receive and transmit: control, rings, delay timers.

nook_regs::registers! {
    /// What moves frames.
    pub(crate) static TRANSFER = "e1000: transfer", bar 0, 0x2_0000 bytes;

    /// Receive control.
    RCTL: u32 at 0x0_0100, Rw, "13.4.22", restore(Switch), needs(Link(RCTL::EN)) {
        /// Receives.
        EN = 1,
        /// Stores bad packets.
        SBP = 2,
        /// Takes every unicast frame.
        UPE = 3,
        /// Takes every multicast frame.
        MPE = 4,
        /// Takes frames longer than 1522 bytes.
        LPE = 5,
        /// Loopback: 0 is none, 1 is in the MAC (82574), 3 is behind it.
        LBM = 6..=7,
        /// RXDMT0 comes when this part of the ring is left: 0 is 1/2, 1 is 1/4, 2 is 1/8.
        RDMTS = 8..=9,
        /// Which 12 bits of the address index the multicast table: 0 is 47:36, 1 is 46:35, 2 is 45:34, 3 is 43:32.
        MO = 12..=13,
        /// Takes broadcast frames.
        BAM = 15,
        /// Buffer size: 2048, 1024, 512, 256 bytes; with `BSEX` reserved, 16384, 8192, 4096.
        BSIZE = 16..=17,
        /// Filters by VLAN.
        VFE = 18,
        /// Filters by the canonical form indicator.
        CFIEN = 19,
        /// The indicator that is wanted.
        CFI = 20,
        /// Drops PAUSE frames after obeying them.
        DPF = 22,
        /// Passes MAC control frames.
        PMCF = 23,
        /// Multiplies the buffer size by 16.
        BSEX = 25,
        /// Strips the frame check sequence.
        SECRC = 26,
    }
    /// Transmit control.
    TCTL: u32 at 0x0_0400, Rw, "13.4.33", restore(Switch), needs(Link(TCTL::EN)) {
        /// Transmits.
        EN = 1,
        /// Pads short packets to 64 bytes.
        PSP = 3,
        /// Attempts after collisions.
        CT = 4..=11,
        /// Collision distance in byte times.
        COLD = 12..=21,
        /// Sends one PAUSE frame.
        SWXOFF = 22,
        /// Sends again after a late collision.
        RTLC = 24,
        /// Does not send again after an underrun (82544 only).
        NRTU = 25,
    }
    /// Gaps between frames.
    TIPG: u32 at 0x0_0410, Rw, "13.4.34", restore(Written) {
        /// Between back-to-back frames.
        IPGT = 0..=9,
        /// First part, after a reception.
        IPGR1 = 10..=19,
        /// Whole gap, after a reception.
        IPGR2 = 20..=29,
    }
    /// Adaptive inter-frame spacing.
    AIT: u32 at 0x0_0458, Rw, "13.4.35", restore(Written) {
        /// In units of 8 ns.
        AIFS = 0..=15,
    }
    /// Flow control: the receive buffer is empty enough for XON.
    FCRTL: u32 at 0x0_2160, Rw, "13.4.23", restore(Written) {
        /// In units of 8 bytes.
        RTL = 3..=15,
        /// Sends XON frames.
        XONE = 31,
    }
    /// Flow control: the receive buffer is so full that XOFF is sent.
    FCRTH: u32 at 0x0_2168, Rw, "13.4.24", restore(Written) {
        /// In units of 8 bytes.
        RTH = 3..=15,
    }
    /// Head of the receive FIFO, for diagnosis.
    RDFH: u32 at 0x0_2410, Ro, "13.8.1";
    /// Tail of the receive FIFO, for diagnosis.
    RDFT: u32 at 0x0_2418, Ro, "13.8.2";
    /// Packets in the receive FIFO, for diagnosis.
    RDFPC: u32 at 0x0_2430, Ro, "13.8.5";
    /// Receive ring: address, low 32 bits; 16-byte aligned.
    RDBAL: u32 at 0x0_2800, Rw, "13.4.25", write(DmaBase), restore(Written);
    /// Receive ring: address, high 32 bits.
    RDBAH: u32 at 0x0_2804, Rw, "13.4.26", write(DmaBaseHigh), restore(Written);
    /// Receive ring: length in bytes, a multiple of 128.
    RDLEN: u32 at 0x0_2808, Rw, "13.4.27", restore(Written) {
        /// In units of 128 bytes.
        LEN = 7..=19,
    }
    /// Receive ring: the next descriptor that hardware uses.
    RDH: u32 at 0x0_2810, Rw, "13.4.28", restore(Held) {
        /// Index.
        RDH = 0..=15,
    }
    /// Receive ring: the first descriptor that hardware may not use.
    RDT: u32 at 0x0_2818, Rw, "13.4.29", write(Doorbell), restore(Written) {
        /// Index.
        RDT = 0..=15,
    }
    /// Receive interrupt: delay after the last frame.
    RDTR: u32 at 0x0_2820, Rw, "13.4.30", restore(Written) {
        /// In units of 1.024 µs; 0 is at once.
        DELAY = 0..=15,
        /// Flushes written descriptors and interrupts now; clears itself.
        FPD = 31,
    }
    /// Receive descriptor control.
    RXDCTL: u32 at 0x0_2828, Rw, "13.4.46", restore(Written) {
        /// Prefetches below this.
        PTHRESH = 0..=5,
        /// Host threshold.
        HTHRESH = 8..=13,
        /// Number of descriptors that are written back at a time.
        WTHRESH = 16..=21,
        /// Thresholds count descriptors instead of cache lines.
        GRAN = 24,
    }
    /// Receive interrupt: delay after the first frame at most.
    RADV: u32 at 0x0_282c, Rw, "13.4.31", restore(Written) {
        /// In units of 1.024 µs; 0 is no limit.
        DELAY = 0..=15,
    }
    /// Small packets interrupt at once (SRPD).
    RSRPD: u32 at 0x0_2c00, Rw, "13.4.32", restore(Written) {
        /// Up to this many bytes; 0 is off.
        SIZE = 0..=11,
    }
    /// Transmit DMA control.
    TXDMAC: u32 at 0x0_3000, Forbidden, "13.4.42";
    /// Head of the transmit FIFO, for diagnosis.
    TDFH: u32 at 0x0_3410, Ro, "13.8.6";
    /// Tail of the transmit FIFO, for diagnosis.
    TDFT: u32 at 0x0_3418, Ro, "13.8.7";
    /// Packets in the transmit FIFO, for diagnosis.
    TDFPC: u32 at 0x0_3430, Ro, "13.8.10";
    /// Transmit ring: address, low 32 bits; 16-byte aligned.
    TDBAL: u32 at 0x0_3800, Rw, "13.4.36", write(DmaBase), restore(Written);
    /// Transmit ring: address, high 32 bits.
    TDBAH: u32 at 0x0_3804, Rw, "13.4.37", write(DmaBaseHigh), restore(Written);
    /// Transmit ring: length in bytes, a multiple of 128.
    TDLEN: u32 at 0x0_3808, Rw, "13.4.38", restore(Written) {
        /// In units of 128 bytes.
        LEN = 7..=19,
    }
    /// Transmit ring: the next descriptor that hardware sends.
    TDH: u32 at 0x0_3810, Rw, "13.4.39", restore(Held) {
        /// Index.
        TDH = 0..=15,
    }
    /// Transmit ring: the first descriptor that hardware may not send.
    TDT: u32 at 0x0_3818, Rw, "13.4.40", write(Doorbell), restore(Written) {
        /// Index.
        TDT = 0..=15,
    }
    /// Transmit interrupt: delay after the last descriptor that asks for it (IDE).
    TIDV: u32 at 0x0_3820, Rw, "13.4.41", restore(Written) {
        /// In units of 1.024 µs.
        IDV = 0..=15,
    }
    /// Transmit descriptor control.
    TXDCTL: u32 at 0x0_3828, Rw, "13.4.43", restore(Written) {
        /// Prefetches below this.
        PTHRESH = 0..=5,
        /// Host threshold.
        HTHRESH = 8..=13,
        /// Number of descriptors that are written back at a time.
        WTHRESH = 16..=21,
        /// Thresholds count descriptors instead of cache lines.
        GRAN = 24,
        /// TXD_LOW comes when eight times this many descriptors are left.
        LWTHRESH = 25..=31,
    }
    /// Transmit interrupt: delay after the first descriptor at most.
    TADV: u32 at 0x0_382c, Rw, "13.4.44", restore(Written) {
        /// In units of 1.024 µs; 0 is no limit.
        IDV = 0..=15,
    }
    /// TCP segmentation: padding and threshold.
    TSPMT: u32 at 0x0_3830, Rw, "13.4.45", restore(Written) {
        /// Least transfer.
        TSMT = 0..=15,
        /// Padding.
        TSPBP = 16..=31,
    }
    /// Receive checksums.
    RXCSUM: u32 at 0x0_5000, Rw, "13.4.47", restore(Written) {
        /// Where the packet checksum starts.
        PCSS = 0..=7,
        /// Checks IPv4 header checksums.
        IPOFL = 8,
        /// Checks TCP and UDP checksums.
        TUOFL = 9,
        /// 82574: extended descriptors have the RSS hash in place of the packet checksum (82574, section 10.2.5).
        PCSD = 13,
    }
}

/// Returns the [`const@RCTL`] bits (`BSIZE` and `BSEX`) for receive buffers of `len_bytes`, which must be one of 256,
/// 512, 1024, 2048, 4096, 8192 and 16384 (section 13.4.22).
pub const fn rctl_buffer_size(len_bytes: u32) -> Option<u32> {
    Some(match len_bytes {
        2048 => RCTL::BSIZE.put(0),
        1024 => RCTL::BSIZE.put(1),
        512 => RCTL::BSIZE.put(2),
        256 => RCTL::BSIZE.put(3),
        16384 => RCTL::BSEX | RCTL::BSIZE.put(1),
        8192 => RCTL::BSEX | RCTL::BSIZE.put(2),
        4096 => RCTL::BSEX | RCTL::BSIZE.put(3),
        _ => return None,
    })
}

/// Returns the length in bytes of the receive buffers that an [`const@RCTL`] value describes; the reserved combination
/// counts as 2048 (section 13.4.22).
pub const fn rctl_buffer_bytes(rctl: u32) -> u32 {
    let small = 2048 >> RCTL::BSIZE.get(rctl);
    if rctl & RCTL::BSEX != 0 && small != 2048 { small * 16 } else { small }
}

/// Returns where an address lives in the multicast table [`MTA`](crate::MTA): which register, and which bit of it, for
/// the `MO` field of [`const@RCTL`] (section 13.5.1).
pub const fn multicast_hash(address: [u8; 6], mo: u32) -> (u32, u32) {
    let top = (address[5] as u32) << 8 | address[4] as u32;
    let shift = match mo {
        0 => 4,
        1 => 3,
        2 => 2,
        _ => 0,
    };
    let hash = (top >> shift) & 0xfff;
    (hash >> 5, 1 << (hash & 31))
}
