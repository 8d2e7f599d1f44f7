//! The chip's counters (section 13.7; 82574, section 10.2.7). Reading one clears it, so they are summed up here.
//!
//! A counter sticks at its largest value: at a million frames per second, that of frames is full after 71 minutes.

use e1000_regs::{
    ALGNERRC, BPRC, BPTC, CEXTERR, COLC, CRCERRS, DC, ECOL, FCRUC, GORCH, GORCL, GOTCH, GOTCL, GPRC, GPTC, LATECOL,
    MCC, MGTPDC, MGTPRC, MGTPTC, MPC, MPRC, MPTC, PRC64, PRC127, PRC255, PRC511, PRC1023, PRC1522, PTC64, PTC127,
    PTC255, PTC511, PTC1023, PTC1522, RFC, RJC, RLEC, RNBC, ROC, RUC, RXERRC, SCC, TNCRS, TORH, TORL, TOTH, TOTL, TPR,
    TPT, TSCTC, TSCTFC, XOFFRXC, XOFFTXC, XONRXC, XONTXC,
};
use nook_sdk::{Kernel, NetStats, Register, Regs};

use crate::spread::QUEUES;

/// Where a counter is.
#[derive(Clone, Copy)]
enum Place {
    One(Register<u32>),
    /// 64 bits: the lower half, and the upper one. Reading the upper half clears both, so it is read last (section
    /// 13.7.31).
    Pair(Register<u32>, Register<u32>),
}

use Place::{One, Pair};

/// Every counter of the chips on copper, so not those of fibre (SYMERRS, SEC). Bytes include the frame check sequence.
/// What Linux's driver has too is called as `ethtool -S` calls it there, so that people find it.
const TABLE: [(&str, Place); 52] = [
    ("rx_packets", One(GPRC)),
    ("rx_bytes", Pair(GORCL, GORCH)),
    ("rx_all_packets", One(TPR)),
    ("rx_all_bytes", Pair(TORL, TORH)),
    ("rx_broadcast", One(BPRC)),
    ("rx_multicast", One(MPRC)),
    ("rx_64_bytes", One(PRC64)),
    ("rx_65_to_127_bytes", One(PRC127)),
    ("rx_128_to_255_bytes", One(PRC255)),
    ("rx_256_to_511_bytes", One(PRC511)),
    ("rx_512_to_1023_bytes", One(PRC1023)),
    ("rx_1024_bytes_or_more", One(PRC1522)),
    ("rx_missed_errors", One(MPC)),
    ("rx_no_buffer_count", One(RNBC)),
    ("rx_crc_errors", One(CRCERRS)),
    ("rx_align_errors", One(ALGNERRC)),
    ("rx_phy_errors", One(RXERRC)),
    ("rx_carrier_extension_errors", One(CEXTERR)),
    ("rx_length_errors", One(RLEC)),
    ("rx_short_length_errors", One(RUC)),
    ("rx_short_bad_crc", One(RFC)),
    ("rx_long_length_errors", One(ROC)),
    ("rx_long_bad_crc", One(RJC)),
    ("rx_flow_control_xon", One(XONRXC)),
    ("rx_flow_control_xoff", One(XOFFRXC)),
    ("rx_flow_control_unknown", One(FCRUC)),
    ("rx_smbus", One(MGTPRC)),
    ("dropped_smbus", One(MGTPDC)),
    ("tx_packets", One(GPTC)),
    ("tx_bytes", Pair(GOTCL, GOTCH)),
    ("tx_all_packets", One(TPT)),
    ("tx_all_bytes", Pair(TOTL, TOTH)),
    ("tx_broadcast", One(BPTC)),
    ("tx_multicast", One(MPTC)),
    ("tx_64_bytes", One(PTC64)),
    ("tx_65_to_127_bytes", One(PTC127)),
    ("tx_128_to_255_bytes", One(PTC255)),
    ("tx_256_to_511_bytes", One(PTC511)),
    ("tx_512_to_1023_bytes", One(PTC1023)),
    ("tx_1024_bytes_or_more", One(PTC1522)),
    ("tx_tcp_seg_good", One(TSCTC)),
    ("tx_tcp_seg_failed", One(TSCTFC)),
    ("collisions", One(COLC)),
    ("tx_single_coll_ok", One(SCC)),
    ("tx_multi_coll_ok", One(MCC)),
    ("tx_aborted_errors", One(ECOL)),
    ("tx_abort_late_coll", One(LATECOL)),
    ("tx_deferred_ok", One(DC)),
    ("tx_carrier_errors", One(TNCRS)),
    ("tx_flow_control_xon", One(XONTXC)),
    ("tx_flow_control_xoff", One(XOFFTXC)),
    ("tx_smbus", One(MGTPTC)),
];

/// Buffers with received frames, or parts of them, that came through each queue.
const QUEUE_NAMES: [&str; QUEUES] = ["rx_queue_0_buffers", "rx_queue_1_buffers"];
const COUNTERS: usize = TABLE.len() + QUEUES;

/// The names of all, for the host.
pub(crate) const NAMES: [&str; COUNTERS] = {
    let mut names = [""; COUNTERS];
    let mut at = 0;
    while at < COUNTERS {
        names[at] = if at < TABLE.len() { TABLE[at].0 } else { QUEUE_NAMES[at - TABLE.len()] };
        at += 1;
    }
    names
};

/// Counters of frames that found no place.
const MISSES: [Register<u32>; 2] = [MPC, RNBC];

/// What was counted.
pub(crate) struct Statistics {
    /// In the order of [`NAMES`].
    totals: [u64; COUNTERS],
    /// What each queue had reclaimed when that was added last.
    reaped: [u32; QUEUES],
    /// What the counters of [`MISSES`] held when they were read last, if that does not clear them.
    kept: Option<[u32; MISSES.len()]>,
    /// Times that the transmitter was stuck.
    pub(crate) tx_timeouts: u64,
}

/// Returns the index of the counter in this register, or in the pair whose lower half it is.
const fn place(register: Register<u32>) -> usize {
    let mut at = 0;
    loop {
        let (One(own) | Pair(own, _)) = TABLE[at].1;
        if own.offset() == register.offset() {
            return at;
        }
        at += 1;
    }
}

impl Statistics {
    /// Begins at 0: what the chip has counted before is not ours. `keeps_misses`: reading does not clear [`MISSES`].
    pub(crate) fn begin<K: Kernel>(regs: &Regs<K>, keeps_misses: bool) -> Self {
        let kept = keeps_misses.then_some([0; MISSES.len()]);
        let mut before = Statistics { totals: [0; COUNTERS], reaped: [0; QUEUES], kept, tx_timeouts: 0 };
        before.collect(regs);
        Statistics { totals: [0; COUNTERS], ..before }
    }

    /// Adds what was counted since the last time.
    pub(crate) fn collect<K: Kernel>(&mut self, regs: &Regs<K>) {
        let Statistics { totals, kept, .. } = self;
        for (total, (_, place)) in totals.iter_mut().zip(TABLE) {
            let counted = match place {
                One(register) => {
                    let held = regs.read(register);
                    let at = MISSES.iter().position(|miss| miss.offset() == register.offset());
                    let before = kept.as_mut().zip(at).map(|(kept, at)| core::mem::replace(&mut kept[at], held));
                    u64::from(held.saturating_sub(before.unwrap_or(0)))
                }
                Pair(low, high) => {
                    let low = u64::from(regs.read(low));
                    low | u64::from(regs.read(high)) << 32
                }
            };
            // A chip that is gone reads as all ones.
            *total = total.saturating_add(counted);
        }
    }

    /// Adds what each queue has reclaimed since the last time.
    pub(crate) fn received(&mut self, reaped: [u32; QUEUES]) {
        for (at, reaped) in reaped.into_iter().enumerate() {
            let new = reaped.wrapping_sub(core::mem::replace(&mut self.reaped[at], reaped));
            self.totals[TABLE.len() + at] += u64::from(new);
        }
    }

    /// The rings are empty, and their counters begin at 0.
    pub(crate) fn rings_are_empty(&mut self) {
        self.reaped = [0; QUEUES];
    }

    /// Returns each total, in the order of [`NAMES`].
    pub(crate) fn totals(&self) -> &[u64] {
        &self.totals
    }

    /// Returns what every network driver counts.
    pub(crate) fn common(&self) -> NetStats {
        macro_rules! total {
            ($register:ident) => {
                self.totals[const { place($register) }]
            };
        }
        let rx_length_errors = total!(RUC) + total!(ROC);
        NetStats {
            rx_packets: total!(GPRC),
            rx_bytes: total!(GORCL),
            rx_errors: total!(CRCERRS) + rx_length_errors + total!(ALGNERRC) + total!(RXERRC) + total!(CEXTERR),
            rx_missed: total!(MPC),
            rx_crc_errors: total!(CRCERRS),
            rx_length_errors,
            multicast: total!(MPRC),
            tx_packets: total!(GPTC),
            tx_bytes: total!(GOTCL),
            tx_errors: total!(ECOL) + total!(LATECOL),
            collisions: total!(COLC),
            tx_timeouts: self.tx_timeouts,
        }
    }
}
