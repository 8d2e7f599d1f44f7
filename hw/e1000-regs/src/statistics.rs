//! Statistics: every counter clears when it is read, but for MPC and RNBC of QEMU's e1000, which never clear
//! (findings/qemu-e1000-missed-packets.sh).

nook_regs::registers! {
    /// Counters. None of them wraps: they stick at their largest value (section 13.7).
    pub(crate) static STATISTICS = "e1000: statistics", bar 0, 0x2_0000 bytes;

    /// Frames with a bad frame check sequence.
    CRCERRS: u32 at 0x0_4000, Ro, "13.7.1", read(ClearsAdd);
    /// Frames with an alignment error.
    ALGNERRC: u32 at 0x0_4004, Ro, "13.7.2", read(ClearsAdd);
    /// Symbol errors.
    SYMERRS: u32 at 0x0_4008, Ro, "13.7.3", read(ClearsAdd);
    /// Frames with an error signalled by the PHY.
    RXERRC: u32 at 0x0_400c, Ro, "13.7.4", read(ClearsAdd);
    /// Frames missed because the receive FIFO was full.
    MPC: u32 at 0x0_4010, Ro, "13.7.5", read(ClearsAdd);
    /// Frames sent after one collision.
    SCC: u32 at 0x0_4014, Ro, "13.7.6", read(ClearsAdd);
    /// Frames given up after too many collisions.
    ECOL: u32 at 0x0_4018, Ro, "13.7.7", read(ClearsAdd);
    /// Frames sent after several collisions.
    MCC: u32 at 0x0_401c, Ro, "13.7.8", read(ClearsAdd);
    /// Late collisions.
    LATECOL: u32 at 0x0_4020, Ro, "13.7.9", read(ClearsAdd);
    /// Collisions.
    COLC: u32 at 0x0_4028, Ro, "13.7.10", read(ClearsAdd);
    /// Deferred transmissions.
    DC: u32 at 0x0_4030, Ro, "13.7.11", read(ClearsAdd);
    /// Transmissions without carrier sense.
    TNCRS: u32 at 0x0_4034, Ro, "13.7.12", read(ClearsAdd);
    /// Sequence errors.
    SEC: u32 at 0x0_4038, Ro, "13.7.13", read(ClearsAdd);
    /// Carrier extension errors.
    CEXTERR: u32 at 0x0_403c, Ro, "13.7.14", read(ClearsAdd);
    /// Frames of a wrong length.
    RLEC: u32 at 0x0_4040, Ro, "13.7.15", read(ClearsAdd);
    /// XON frames received.
    XONRXC: u32 at 0x0_4048, Ro, "13.7.16", read(ClearsAdd);
    /// XON frames sent.
    XONTXC: u32 at 0x0_404c, Ro, "13.7.17", read(ClearsAdd);
    /// XOFF frames received.
    XOFFRXC: u32 at 0x0_4050, Ro, "13.7.18", read(ClearsAdd);
    /// XOFF frames sent.
    XOFFTXC: u32 at 0x0_4054, Ro, "13.7.19", read(ClearsAdd);
    /// Unsupported flow control frames received.
    FCRUC: u32 at 0x0_4058, Ro, "13.7.20", read(ClearsAdd);
    /// Good frames received of 64 bytes.
    PRC64: u32 at 0x0_405c, Ro, "13.7.21", read(ClearsAdd);
    /// Good frames received of 65 to 127 bytes.
    PRC127: u32 at 0x0_4060, Ro, "13.7.22", read(ClearsAdd);
    /// Good frames received of 128 to 255 bytes.
    PRC255: u32 at 0x0_4064, Ro, "13.7.23", read(ClearsAdd);
    /// Good frames received of 256 to 511 bytes.
    PRC511: u32 at 0x0_4068, Ro, "13.7.24", read(ClearsAdd);
    /// Good frames received of 512 to 1023 bytes.
    PRC1023: u32 at 0x0_406c, Ro, "13.7.25", read(ClearsAdd);
    /// Good frames received of 1024 bytes or more.
    PRC1522: u32 at 0x0_4070, Ro, "13.7.26", read(ClearsAdd);
    /// Good frames received.
    GPRC: u32 at 0x0_4074, Ro, "13.7.27", read(ClearsAdd);
    /// Good broadcast frames received.
    BPRC: u32 at 0x0_4078, Ro, "13.7.28", read(ClearsAdd);
    /// Good multicast frames received.
    MPRC: u32 at 0x0_407c, Ro, "13.7.29", read(ClearsAdd);
    /// Good frames sent.
    GPTC: u32 at 0x0_4080, Ro, "13.7.30", read(ClearsAdd);
    /// Bytes in good frames received, low half.
    GORCL: u32 at 0x0_4088, Ro, "13.7.31";
    /// Bytes in good frames received, high half.
    GORCH: u32 at 0x0_408c, Ro, "13.7.31", read(ClearsPair);
    /// Bytes in good frames sent, low half.
    GOTCL: u32 at 0x0_4090, Ro, "13.7.32";
    /// Bytes in good frames sent, high half.
    GOTCH: u32 at 0x0_4094, Ro, "13.7.32", read(ClearsPair);
    /// Times that a frame found no descriptor.
    RNBC: u32 at 0x0_40a0, Ro, "13.7.33", read(ClearsAdd);
    /// Frames that were too short, with a good check sequence.
    RUC: u32 at 0x0_40a4, Ro, "13.7.34", read(ClearsAdd);
    /// Frames that were too short, with a bad check sequence.
    RFC: u32 at 0x0_40a8, Ro, "13.7.35", read(ClearsAdd);
    /// Frames that were too long, with a good check sequence.
    ROC: u32 at 0x0_40ac, Ro, "13.7.36", read(ClearsAdd);
    /// Frames that were too long, with a bad check sequence.
    RJC: u32 at 0x0_40b0, Ro, "13.7.37", read(ClearsAdd);
    /// Management packets received.
    MGTPRC: u32 at 0x0_40b4, Ro, "13.7.38", read(ClearsAdd);
    /// Management packets dropped.
    MGTPDC: u32 at 0x0_40b8, Ro, "13.7.39", read(ClearsAdd);
    /// Management packets sent.
    MGTPTC: u32 at 0x0_40bc, Ro, "13.7.40", read(ClearsAdd);
    /// Bytes received in all frames, low half.
    TORL: u32 at 0x0_40c0, Ro, "13.7.41";
    /// Bytes received in all frames, high half.
    TORH: u32 at 0x0_40c4, Ro, "13.7.41", read(ClearsPair);
    /// Bytes sent in all frames, low half.
    TOTL: u32 at 0x0_40c8, Ro, "13.7.42";
    /// Bytes sent in all frames, high half.
    TOTH: u32 at 0x0_40cc, Ro, "13.7.42", read(ClearsPair);
    /// All frames received.
    TPR: u32 at 0x0_40d0, Ro, "13.7.43", read(ClearsAdd);
    /// All frames sent.
    TPT: u32 at 0x0_40d4, Ro, "13.7.44", read(ClearsAdd);
    /// Frames sent of 64 bytes.
    PTC64: u32 at 0x0_40d8, Ro, "13.7.45", read(ClearsAdd);
    /// Frames sent of 65 to 127 bytes.
    PTC127: u32 at 0x0_40dc, Ro, "13.7.46", read(ClearsAdd);
    /// Frames sent of 128 to 255 bytes.
    PTC255: u32 at 0x0_40e0, Ro, "13.7.47", read(ClearsAdd);
    /// Frames sent of 256 to 511 bytes.
    PTC511: u32 at 0x0_40e4, Ro, "13.7.48", read(ClearsAdd);
    /// Frames sent of 512 to 1023 bytes.
    PTC1023: u32 at 0x0_40e8, Ro, "13.7.49", read(ClearsAdd);
    /// Frames sent of 1024 bytes or more.
    PTC1522: u32 at 0x0_40ec, Ro, "13.7.50", read(ClearsAdd);
    /// Multicast frames sent.
    MPTC: u32 at 0x0_40f0, Ro, "13.7.51", read(ClearsAdd);
    /// Broadcast frames sent.
    BPTC: u32 at 0x0_40f4, Ro, "13.7.52", read(ClearsAdd);
    /// TCP segmentation contexts sent.
    TSCTC: u32 at 0x0_40f8, Ro, "13.7.53", read(ClearsAdd);
    /// TCP segmentation contexts that failed.
    TSCTFC: u32 at 0x0_40fc, Ro, "13.7.54", read(ClearsAdd);
}
