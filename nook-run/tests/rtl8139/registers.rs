//! The chip's registers.

nook_regs::registers! {
    /// The device's registers, as in rtl8139.regs.toml. In quotes is what the programming guide calls them.
    pub static MAP = "rtl8139", bar 1, 0x100 bytes;

    /// The chip's address, first byte lowest.
    IDR0: u32 at 0x00, Rw, "IDR0-3";
    IDR4: u32 at 0x04, Rw, "IDR4-5";
    /// The filter of multicast addresses: a bit for each hash.
    MAR: [u32; 2; 4] at 0x08, Rw, "MAR0-7";
    /// What a transmit slot is at. Writing it with OWN clear sends.
    TSD: [u32; 4; 4] at 0x10, Rw, "TSD0-3", write(Doorbell) {
        /// How long the frame is.
        SIZE = 0..=12,
        /// The chip has read the frame out of memory.
        OWN = 13,
        TUN = 14,
        TOK = 15,
        /// From how many bytes in the FIFO on it is sent, in units of 32.
        ERTXTH = 16..=21,
        TABT = 30,
    }
    /// Where each slot's frame lies.
    TSAD: [u32; 4; 4] at 0x20, Rw, "TSAD0-3", write(DmaBase);
    /// Where the receive ring is.
    RBSTART: u32 at 0x30, Rw, "RBSTART", write(DmaBase);
    /// What the chip does.
    CR: u8 at 0x37, Rw, "Command", write(Reset(CR::RST)), needs(Link(CR::TE | CR::RE)) {
        BUFE = 0,
        TE = 2,
        RE = 3,
        /// Clears itself.
        RST = 4,
    }
    /// Where the driver reads, less 16.
    CAPR: u16 at 0x38, Rw, "CAPR";
    /// Where the chip writes.
    CBR: u16 at 0x3a, Ro, "CBR";
    /// What it may interrupt for: the bits of `ISR`.
    IMR: u16 at 0x3c, Rw, "Interrupt Mask";
    /// Why it interrupts.
    ISR: u16 at 0x3e, Rw, "Interrupt Status", write(OneClears) {
        ROK = 0,
        RER = 1,
        TOK = 2,
        TER = 3,
        RXOVW = 4,
        LINK = 5,
        FOVW = 6,
        TIMEOUT = 14,
        SERR = 15,
    }
    TCR: u32 at 0x40, Rw, "Transmit Configuration";
    RCR: u32 at 0x44, Rw, "Receive Configuration";
    /// Frames for which there was no room, modulo 2^24.
    MPC: u32 at 0x4c, Ro, "Missed Packet Counter";
    /// Lets configuration registers be written.
    CR9346: u8 at 0x50, Rw, "9346CR";
    /// What it sees of the link.
    MSR: u8 at 0x58, Ro, "Media Status" {
        /// There is none.
        LINKB = 2,
        SPEED_10 = 3,
    }
    /// What all four transmit slots are at.
    TSAS: u16 at 0x60, Ro, "TSAD: Transmit Status of All Descriptors" {
        OWN = 0..=3,
        TABT = 4..=7,
        TUN = 8..=11,
        TOK = 12..=15,
    }
    ANAR: u16 at 0x66, Ro, "Auto-Negotiation Advertisement";
    ANLPAR: u16 at 0x68, Ro, "Auto-Negotiation Link Partner";
}
