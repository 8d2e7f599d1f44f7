//! Device control, EEPROM, PHY access, semaphores, interrupts, address filters.

nook_regs::registers! {
    /// What is neither a ring nor a counter.
    pub(crate) static GENERAL = "igb: general", bar 0, 0x2_0000 bytes;

    /// Device control.
    CTRL: u32 at 0x0_0000, Rw, "8.2", write(Reset(CTRL::RST | CTRL::PHY_RST)), needs(Open(CTRL::SLU)) {
        /// Full duplex; counts only with `FRCDPLX`.
        FD = 0,
        /// No new DMA is begun.
        GIO_MASTER_DISABLE = 2,
        /// Set link up: lets the MAC see the PHY's link.
        SLU = 6,
        /// Forced speed: 0 is 10, 1 is 100, 2 is 1000 Mbit/s.
        SPEED = 8..=9,
        /// The speed is what `SPEED` says.
        FRCSPD = 11,
        /// The duplex mode is what `FD` says.
        FRCDPLX = 12,
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
    STATUS: u32 at 0x0_0008, Ro, "8.2", posts_only(), held_up(STATUS::TXOFF), link(Set(STATUS::LU)) {
        /// Full duplex.
        FD = 0,
        /// Link up.
        LU = 1,
        /// Which of the chip's two ports.
        LAN_ID = 2..=3,
        /// The transmitter is paused by flow control.
        TXOFF = 4,
        /// Link speed: 0 is 10, 1 is 100, 2 or 3 is 1000 Mbit/s.
        SPEED = 6..=7,
        /// Reset done for virtual functions.
        PF_RST_DONE = 21,
        /// DMA is allowed or still under way.
        GIO_MASTER_ENABLE = 19,
    }
    /// EEPROM and flash pins. Read only: words are read through EERD, and with the pins they could be written.
    EECD: u32 at 0x0_0010, Ro, "8.4" {
        /// There is an EEPROM.
        EE_PRES = 8,
        /// It was read after power-on.
        AUTO_RD = 9,
        /// How large it is.
        EE_SIZE = 11..=14,
    }
    /// Reads one EEPROM word.
    EERD: u32 at 0x0_0014, Rw, "8.4" {
        /// Starts a read.
        START = 0,
        /// The read is done.
        DONE = 1,
        /// Which word.
        ADDR = 2..=15,
        /// The word.
        DATA = 16..=31,
    }
    /// Extended device control.
    CTRL_EXT: u32 at 0x0_0018, Rw, "8.2", write(Reset(CTRL_EXT::EE_RST)) {
        /// Reads the configuration from the EEPROM again; clears itself.
        EE_RST = 13,
        /// Tells virtual functions that the reset is done.
        PFRSTD = 14,
        /// What is behind the MAC: 0 is the internal PHY.
        LINK_MODE = 22..=23,
        /// Tells the management firmware that a driver has the chip.
        DRV_LOAD = 28,
    }
    /// Flash access. Forbidden: it writes non-volatile memory.
    FLA: u32 at 0x0_001c, Forbidden, "8.4";
    /// Access to the PHY's registers.
    MDIC: u32 at 0x0_0020, Rw, "8.2" {
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
        /// Interrupts when ready.
        I = 29,
        /// The access failed.
        E = 30,
        /// The PHY is an external one.
        DEST = 31,
    }
    /// Flow control address, low 32 bits.
    FCAL: u32 at 0x0_0028, Rw, "8.5";
    /// Flow control address, high 16 bits.
    FCAH: u32 at 0x0_002c, Rw, "8.5";
    /// Flow control type.
    FCT: u32 at 0x0_0030, Rw, "8.5";
    /// VLAN ether types, the inner and the outer one.
    VET: u32 at 0x0_0038, Rw, "8.2";
    /// Interrupt causes that are no queue's. Reading clears all of them.
    ICR: u32 at 0x0_00c0, Rw, "8.8", read(ClearsOr), write(OneClears) {
        /// A transmit descriptor that asked for it was written back.
        TXDW = 0,
        /// The link went up or down.
        LSC = 2,
        /// Few receive descriptors are left.
        RXDMT0 = 4,
        /// A frame was lost for want of room.
        RXO = 6,
        /// A received frame was written into memory.
        RXDW = 7,
        /// A virtual function wrote to its mailbox.
        VMMB = 8,
    }
    /// Sets interrupt causes (bits of ICR).
    ICS: u32 at 0x0_00c8, Wo, "8.8", fields(ICR::FIELDS);
    /// Enables interrupt causes (bits of ICR) by writing ones; reads what is enabled.
    IMS: u32 at 0x0_00d0, Rw, "8.8", fields(ICR::FIELDS);
    /// Disables interrupt causes (bits of ICR) by writing ones.
    IMC: u32 at 0x0_00d8, Wo, "8.8", fields(ICR::FIELDS);
    /// Which causes a read of ICR masks.
    IAM: u32 at 0x0_00e0, Rw, "8.8";
    /// Flow control transmit timer.
    FCTTV: u32 at 0x0_0170, Rw, "8.5" {
        /// The time in a PAUSE frame.
        TTV = 0..=15,
    }
    /// What the LEDs show.
    LEDCTL: u32 at 0x0_0e00, Rw, "8.2";
    /// Management's access to the EEPROM. Read only: it could write, and it tells when the configuration was read.
    EEMNGCTL: u32 at 0x0_1010, Ro, "8.1.3" {
        /// The first port's configuration was read.
        CFG_DONE0 = 18,
        /// The second port's was.
        CFG_DONE1 = 19,
    }
    /// Commands to a transceiver module. Forbidden: they write its memory.
    I2CCMD: u32 at 0x0_1028, Forbidden, "8.1.3";
    /// How they are sent, and the pins. Forbidden for the same reason.
    I2CPARAMS: u32 at 0x0_102c, Forbidden, "8.1.3";
    /// How interrupts are signalled.
    GPIE: u32 at 0x0_1514, Rw, "8.8" {
        /// Reading ICR does not clear it unless it interrupts.
        NSICR = 0,
        /// Several vectors.
        MULTIPLE_MSIX = 4,
        /// Vectors of MSI-X mask themselves by EIAM.
        EIAME = 30,
        /// Clears a vector's pending bit when its cause is gone.
        PBA_SUPPORT = 31,
    }
    /// Sets the causes of vectors.
    EICS: u32 at 0x0_1520, Wo, "8.8";
    /// Enables vectors by writing ones; reads what is enabled.
    EIMS: u32 at 0x0_1524, Rw, "8.8";
    /// Disables vectors by writing ones.
    EIMC: u32 at 0x0_1528, Wo, "8.8";
    /// Which vectors clear their causes by themselves.
    EIAC: u32 at 0x0_152c, Rw, "8.8";
    /// Which vectors mask themselves.
    EIAM: u32 at 0x0_1530, Rw, "8.8";
    /// Causes, by vector. Reading clears those that do not do so by themselves.
    EICR: u32 at 0x0_1580, Rw, "8.8", read(ClearsOr), write(OneClears);
    /// Least time between two interrupts of each vector.
    EITR: [u32; 25; 4] at 0x0_1680, Rw, "8.8" {
        /// In microseconds; 0 is no limit.
        INTERVAL = 2..=14,
    }
    /// Which vector each queue's causes have: a byte for each of two causes of two queues.
    IVAR: [u32; 8; 4] at 0x0_1700, Rw, "8.8";
    /// Which vector the other causes have.
    IVAR_MISC: u32 at 0x0_1740, Rw, "8.8";
    /// Multicast table: 4096 bits.
    MTA: [u32; 128; 4] at 0x0_5200, Rw, "8.10";
    /// Receive addresses, low 32 bits.
    RAL: [u32; 16; 8] at 0x0_5400, Rw, "8.10";
    /// Receive addresses, high 16 bits and control.
    RAH: [u32; 16; 8] at 0x0_5404, Rw, "8.10" {
        /// The fifth and sixth byte.
        ADDR = 0..=15,
        /// Which queues or pools receive what is for it.
        POOLSEL = 18..=25,
        /// The entry is valid.
        AV = 31,
    }
    /// Eight receive addresses more, low 32 bits.
    RAL2: [u32; 8; 8] at 0x0_54e0, Rw, "8.10";
    /// And their high 16 bits and control.
    RAH2: [u32; 8; 8] at 0x0_54e4, Rw, "8.10", fields(RAH::FIELDS);
    /// VLAN filter table: 4096 bits.
    VFTA: [u32; 128; 4] at 0x0_5600, Rw, "8.10";
    /// Wake-up control.
    WUC: u32 at 0x0_5800, Rw, "8.1.3";
    /// Management control.
    MANC: u32 at 0x0_5820, Rw, "8.1.3";
    /// PCI Express control.
    GCR: u32 at 0x0_5b00, Rw, "8.6";
    /// Semaphores between software and firmware. Reading takes the first one.
    SWSM: u32 at 0x0_5b50, Rw, "8.7", read(Other) {
        /// A driver has it; set by being read, cleared by writing zero.
        SMBI = 0,
        /// Software has the parts that it shares with firmware.
        SWESMBI = 1,
    }
    /// What the firmware does.
    FWSM: u32 at 0x0_5b54, Ro, "8.7";
    /// Which parts software and firmware have.
    SW_FW_SYNC: u32 at 0x0_5b5c, Rw, "8.7";
    /// Unicast table: 4096 bits.
    UTA: [u32; 128; 4] at 0x0_a000, Rw, "8.10";
}
