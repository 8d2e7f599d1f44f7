//! The order in which registers are written: reset, start, silence (chapter 14).

use e1000_regs::{
    CTRL, IMC, ITR, MANC, PBA, RADV, RDBAH, RDBAL, RDH, RDLEN, RDT, RDTR, RSRPD, RXCSUM, RXDCTL, SPEED_1000, STATUS,
    TADV, TCTL, TDBAH, TDBAL, TDH, TDLEN, TDT, TIDV, TIPG, TXDCTL,
};
use nook_sdk::{Kernel, Nook, Regs, Status, error};

use crate::chip::{Chip, Tuning};
use crate::flow::{self, Flow};
use crate::rx_filter::{RxFilter, write_rctl};
use crate::verbs::Ring;
use crate::{express, jumbo, offloads};

/// How much longer than it should a reset may take: a look at a busy machine comes late, and it is not at fault.
const RESET_PATIENCE_NS: u64 = 200_000_000;
/// How often to look.
const LOOK_NS: u64 = 100_000;
/// How long transfers that have begun may take to end once receiver and transmitter are off.
const DRAIN_NS: u64 = 10_000_000;

/// TCTL.CT: attempts to send a frame (section 13.4.33).
const ATTEMPTS: u32 = 15;
/// TCTL.COLD: in byte times, for full duplex, and for half duplex at 10 and 100 Mbit/s. The 512 that section 13.4.33
/// gives for half duplex are those of 1000 Mbit/s, which is not offered.
const COLLISION_DISTANCE: u32 = 64;

/// How frames pass the chip.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mode {
    /// They turn round inside it.
    pub(crate) loopback: bool,
    /// They may be longer than Ethernet's.
    pub(crate) jumbo: bool,
    /// Pauses that both ends agreed on.
    pub(crate) flow: Flow,
}

/// Resets all but PCI configuration and PHY, from any state (section 13.4.1). DMA must be off. Interrupts are masked
/// then.
pub(crate) fn reset<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, chip: &Chip) -> Result<(), Status> {
    // QEMU's 82540EM does nothing on a reset, so nobody relies on what it should do to other registers.
    regs.write(IMC, u32::MAX);
    if chip.express {
        express::end_dma(nook, regs, chip);
    }
    // Nothing else is set: whatever held the PHY in reset, looped back or forced a speed is gone.
    regs.write(CTRL, chip.ctrl | CTRL::RST);
    // No access is allowed for 1 µs; the rest is for the EEPROM's content.
    nook.sleep_ns(chip.reset_ns);
    let done = nook.poll_until(RESET_PATIENCE_NS, LOOK_NS, || regs.read(CTRL) & CTRL::RST == 0);
    if done.is_err() {
        error!(nook, "{}: the reset does not end", chip.name);
    }
    regs.write(IMC, u32::MAX);
    done
}

/// Prepares the chip after a reset for sending and receiving, with empty rings and interrupts masked (sections 14.3 to
/// 14.5). [`turn_on`] comes after it.
pub(crate) fn start<K: Kernel>(regs: &Regs<K>, chip: &Chip, filter: &RxFilter, mode: Mode, rx: &Ring<K>, tx: &Ring<K>) {
    for &Tuning(register, clear, set) in chip.tuning {
        regs.modify(register, |value| value & !clear | set);
    }
    let rx_buffer_kib = chip.rx_buffer_kib(mode.jumbo);
    regs.write(PBA, PBA::RXA.put(rx_buffer_kib));
    flow::prepare(regs, rx_buffer_kib * 1024, chip.longest_bytes(mode.jumbo));
    write_ctrl(regs, chip, mode);
    // The host answers ARP requests, not the chip.
    regs.modify(MANC, |manc| manc & !MANC::ARP_EN);
    filter.write(regs, None);
    moderate(regs);
    // Heads and tails first: whatever was in them, an empty ring is never looked at.
    for register in [RDH, RDT, TDH, TDT] {
        regs.write(register, 0);
    }
    regs.write(RDBAL, rx.iova() as u32);
    regs.write(RDBAH, (rx.iova() >> 32) as u32);
    regs.write(RDLEN, rx.len_bytes());
    regs.write(TDBAL, tx.iova() as u32);
    regs.write(TDBAH, (tx.iova() >> 32) as u32);
    regs.write(TDLEN, tx.len_bytes());
    regs.write(RXDCTL, 0);
    regs.write(TXDCTL, chip.txdctl);
    regs.write(RXCSUM, offloads::CHECKS);
    regs.write(TIPG, chip.tipg);
}

/// Has a chip that is prepared send and receive.
pub(crate) fn turn_on<K: Kernel>(
    nook: &Nook<K>,
    regs: &Regs<K>,
    chip: &Chip,
    filter: &RxFilter,
    mode: Mode,
) -> Result<(), Status> {
    nook.dma_enable()?;
    regs.write(TCTL, TCTL::EN | TCTL::PSP | TCTL::CT.put(ATTEMPTS) | TCTL::COLD.put(COLLISION_DISTANCE));
    write_rctl(regs, rctl(chip, filter, mode));
    Ok(())
}

/// Writes CTRL of a chip that runs. The MAC follows the PHY's link, speed and duplex: nothing is forced or guessed
/// (section 8.6.2), except in loopback, where nothing is to be found out and nobody asks for a pause.
pub(crate) fn write_ctrl<K: Kernel>(regs: &Regs<K>, chip: &Chip, mode: Mode) {
    const FORCED: u32 = CTRL::FRCSPD | CTRL::FRCDPLX | CTRL::FD | CTRL::SPEED.put(SPEED_1000);
    let mode = if mode.loopback { FORCED | chip.loopback.ctrl() } else { mode.flow.ctrl() };
    regs.write(CTRL, chip.ctrl | CTRL::SLU | mode);
}

/// Returns the value of RCTL.
pub(crate) fn rctl(chip: &Chip, filter: &RxFilter, mode: Mode) -> u32 {
    let looped = if mode.loopback { chip.loopback.rctl() } else { 0 };
    filter.rctl() | looped | if mode.jumbo { jumbo::RCTL_JUMBO } else { 0 }
}

/// Sets when the chip interrupts (sections 13.4.18, 13.4.30 to 13.4.32, 13.4.41 and 13.4.44).
///
/// - A received frame interrupts at once. RDTR and RADV would make a lone frame wait, and the manual warns of them; ITR
///   makes the second of two wait, as in any exchange of requests and answers, so it is set for streams only
///   (`pace.rs`). From the first interrupt until `poll` has emptied the ring all others are masked.
/// - A sent frame is not urgent: nobody waits for it but the host that wants its buffer back, and a `poll` for another
///   reason sees it too. It interrupts 33 µs after the last one, and at most 66 µs after the first. That is short
///   enough that a ring with all that it holds of the shortest frames (256 times 672 ns) is refilled in time.
fn moderate<K: Kernel>(regs: &Regs<K>) {
    for register in [RDTR, RADV, RSRPD, ITR] {
        regs.write(register, 0);
    }
    regs.write(TIDV, TIDV::IDV.put(32));
    regs.write(TADV, TADV::IDV.put(64));
}

/// Makes a chip that runs silent: no interrupt, no DMA. What it had is the driver's again.
pub(crate) fn silence<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>) -> Result<(), Status> {
    regs.write(IMC, u32::MAX);
    write_rctl(regs, 0);
    regs.write(TCTL, 0);
    // Pushes the writes out, before the wait begins.
    regs.read(STATUS);
    nook.sleep_ns(DRAIN_NS);
    nook.dma_disable()
}
