//! Statistics: the controller's counters clear when they are read, so they are added up here.

use e1000_regs::{
    COLC, CRCERRS, ECOL, GORCH, GORCL, GOTCH, GOTCL, GPRC, GPTC, LATECOL, MPC, MPRC, RLEC, ROC, RUC, RXERRC,
};
use nook_sdk::{Kernel, NetStats, Regs};

/// The sums.
#[derive(Default)]
pub(crate) struct Statistics {
    sums: NetStats,
}

impl Statistics {
    /// Reads every counter that is used, for nothing.
    pub(crate) fn forget<K: Kernel>(&mut self, regs: &Regs<K>) {
        self.read(regs);
        self.sums = NetStats::default();
    }

    /// The transmitter was found stuck.
    pub(crate) fn tx_timed_out(&mut self) {
        self.sums.tx_timeouts += 1;
    }

    /// A packet could not be sent because of what the host asked for.
    pub(crate) fn tx_refused(&mut self) {
        self.sums.tx_errors += 1;
    }

    /// Adds what the controller counted since the last call (section 13.7) and returns the sums.
    pub(crate) fn read<K: Kernel>(&mut self, regs: &Regs<K>) -> NetStats {
        let counter = |register| u64::from(regs.read(register));
        // Reading the upper half clears both, so the lower one comes first (sections 13.7.31 and 13.7.32).
        let pair = |low, high| {
            let low = counter(low);
            low | counter(high) << 32
        };
        let sums = &mut self.sums;
        let crc_errors = counter(CRCERRS);
        let length_errors = counter(RLEC) + counter(RUC) + counter(ROC);
        sums.rx_packets += counter(GPRC);
        sums.rx_bytes += pair(GORCL, GORCH);
        sums.rx_crc_errors += crc_errors;
        sums.rx_length_errors += length_errors;
        sums.rx_errors += crc_errors + length_errors + counter(RXERRC);
        sums.rx_missed += counter(MPC);
        sums.multicast += counter(MPRC);
        sums.tx_packets += counter(GPTC);
        sums.tx_bytes += pair(GOTCL, GOTCH);
        sums.tx_errors += counter(ECOL) + counter(LATECOL);
        sums.collisions += counter(COLC);
        *sums
    }
}
