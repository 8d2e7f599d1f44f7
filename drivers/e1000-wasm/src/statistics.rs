//! The chip's counters (section 13.7). Reading one clears it, so they are summed up here.

use e1000_regs::{
    ALGNERRC, CEXTERR, COLC, CRCERRS, ECOL, GORCH, GORCL, GOTCH, GOTCL, GPRC, GPTC, LATECOL, MPC, MPRC, ROC, RUC,
    RXERRC,
};
use nook_sdk::{Kernel, NetStats, Regs};

/// Adds what was counted since the last time. Bytes include the frame check sequence, as the chip counts them.
///
/// A counter sticks at its largest value: at a million frames per second, that of frames is full after 71 minutes.
pub(crate) fn collect<K: Kernel>(regs: &Regs<K>, total: &mut NetStats) {
    let read = |register| u64::from(regs.read(register));
    // The upper half clears both, so it is read last (section 13.7.31).
    let pair = |low, high| {
        let low = u64::from(regs.read(low));
        low | u64::from(regs.read(high)) << 32
    };
    let crc_errors = read(CRCERRS);
    let length_errors = read(RUC) + read(ROC);
    total.rx_packets += read(GPRC);
    total.rx_bytes += pair(GORCL, GORCH);
    total.rx_crc_errors += crc_errors;
    total.rx_length_errors += length_errors;
    total.rx_errors += crc_errors + length_errors + read(ALGNERRC) + read(RXERRC) + read(CEXTERR);
    total.rx_missed += read(MPC);
    total.multicast += read(MPRC);
    total.tx_packets += read(GPTC);
    total.tx_bytes += pair(GOTCL, GOTCH);
    total.tx_errors += read(ECOL) + read(LATECOL);
    total.collisions += read(COLC);
}
