//! Interrupts: causes, mask, throttle and delay timers (sections 3.2.7, 3.4.3 and 13.4.17 to 13.4.21), and the shared
//! line that they end on.

use e1000_regs::{DELAY_STEP_NS, ITR, ITR_STEP_NS};

use crate::NEVER;

/// What the bus makes of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Off,
    Open,
    /// It fired and waits to be opened again.
    Masked,
}

/// A pair of delays that hold an interrupt back: one starts again with every event, the other with the first only.
#[derive(Debug)]
pub(crate) struct DelayTimer {
    last_due_ns: u64,
    first_due_ns: u64,
}

impl DelayTimer {
    pub(crate) const fn new() -> Self {
        DelayTimer { last_due_ns: NEVER, first_due_ns: NEVER }
    }

    /// Notes an event that is to be reported `last` steps after the last such event, or `first` steps after the
    /// first (0 is no such limit).
    pub(crate) fn event(&mut self, now_ns: u64, last: u32, first: u32) {
        let after = |steps: u32| now_ns.saturating_add(u64::from(steps) * DELAY_STEP_NS);
        self.last_due_ns = after(last);
        if self.first_due_ns == NEVER && first != 0 {
            self.first_due_ns = after(first);
        }
    }

    #[inline]
    pub(crate) fn due_ns(&self) -> u64 {
        self.last_due_ns.min(self.first_due_ns)
    }

    pub(crate) fn running(&self) -> bool {
        self.due_ns() != NEVER
    }

    /// Returns whether it ran out; then it is stopped.
    #[inline]
    pub(crate) fn expired(&mut self, now_ns: u64) -> bool {
        let expired = self.running() && now_ns >= self.due_ns();
        if expired {
            self.stop();
        }
        expired
    }

    pub(crate) fn stop(&mut self) {
        *self = DelayTimer::new();
    }
}

#[derive(Debug)]
pub(crate) struct Irq {
    causes: u32,
    mask: u32,
    itr: u32,
    /// The throttle lets the line rise no earlier.
    not_before_ns: u64,
    /// The device asserts its line.
    line: bool,
    gate: Gate,
    pub(crate) rx: DelayTimer,
    pub(crate) tx: DelayTimer,
}

impl Irq {
    pub(crate) const fn new() -> Self {
        Irq {
            causes: 0,
            mask: 0,
            itr: 0,
            not_before_ns: 0,
            line: false,
            gate: Gate::Off,
            rx: DelayTimer::new(),
            tx: DelayTimer::new(),
        }
    }

    /// Resets the device; the bus is not reset.
    pub(crate) fn reset(&mut self) {
        *self = Irq { gate: self.gate, ..Irq::new() };
    }

    #[inline]
    pub(crate) fn raise(&mut self, causes: u32) {
        self.causes |= causes;
    }

    /// Reads ICR, which clears it, and with it the line.
    pub(crate) fn read_causes(&mut self) -> u32 {
        self.line = false;
        std::mem::take(&mut self.causes)
    }

    pub(crate) fn clear(&mut self, causes: u32) {
        self.causes &= !causes;
        self.follow();
    }

    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    pub(crate) fn enable(&mut self, causes: u32) {
        self.mask |= causes;
    }

    pub(crate) fn disable(&mut self, causes: u32) {
        self.mask &= !causes;
        self.follow();
    }

    pub(crate) fn itr(&self) -> u32 {
        self.itr
    }

    pub(crate) fn set_itr(&mut self, value: u32) {
        self.itr = value & ITR::INTERVAL.mask();
        self.not_before_ns = 0;
    }

    fn wanted(&self) -> bool {
        self.causes & self.mask != 0
    }

    /// Updates the line: without a reason it falls at once.
    fn follow(&mut self) {
        self.line &= self.wanted();
    }

    pub(crate) fn open(&mut self) {
        self.gate = Gate::Open;
    }

    pub(crate) fn close(&mut self) {
        self.gate = Gate::Off;
    }

    /// Opens the line if it is masked.
    pub(crate) fn unmask(&mut self) {
        if self.gate == Gate::Masked {
            self.gate = Gate::Open;
        }
    }

    /// Returns whether the line fires now; then it is masked. `other` is another device on it.
    #[inline]
    pub(crate) fn fires(&mut self, now_ns: u64, other: bool) -> bool {
        if !self.line && self.wanted() && now_ns >= self.not_before_ns {
            self.line = true;
            self.not_before_ns = now_ns.saturating_add(u64::from(self.itr) * ITR_STEP_NS);
        }
        let fires = self.gate == Gate::Open && (self.line || other);
        if fires {
            self.gate = Gate::Masked;
        }
        fires
    }

    /// Returns when something will come of it by itself.
    #[inline]
    pub(crate) fn due_ns(&self) -> u64 {
        let throttled = !self.line && self.wanted() && self.gate == Gate::Open;
        let line = if throttled { self.not_before_ns } else { NEVER };
        line.min(self.rx.due_ns()).min(self.tx.due_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(mask: u32) -> Irq {
        let mut irq = Irq::new();
        irq.open();
        irq.enable(mask);
        irq
    }

    #[test]
    fn an_asserted_line_fires_once_until_it_is_unmasked_and_then_again() {
        let mut irq = open(1);
        irq.raise(1);
        assert!(irq.fires(0, false));
        assert!(!irq.fires(1, false));
        irq.unmask();
        assert!(irq.fires(2, false), "the line is still asserted");
        assert_eq!(irq.read_causes(), 1);
        irq.unmask();
        assert!(!irq.fires(3, false));
    }

    #[test]
    fn a_cause_that_is_not_enabled_stays_silent_until_it_is() {
        let mut irq = open(2);
        irq.raise(1);
        assert!(!irq.fires(0, false));
        irq.enable(1);
        assert!(irq.fires(1, false));
    }

    #[test]
    fn the_throttle_keeps_interrupts_apart() {
        let mut irq = open(1);
        irq.set_itr(10);
        irq.raise(1);
        assert!(irq.fires(0, false));
        irq.read_causes();
        irq.unmask();
        irq.raise(1);
        assert!(!irq.fires(10 * ITR_STEP_NS - 1, false));
        assert_eq!(irq.due_ns(), 10 * ITR_STEP_NS);
        assert!(irq.fires(10 * ITR_STEP_NS, false));
    }

    #[test]
    fn a_delay_starts_again_with_each_event_but_not_past_the_limit() {
        let mut timer = DelayTimer::new();
        timer.event(0, 10, 15);
        timer.event(8 * DELAY_STEP_NS, 10, 15);
        assert!(!timer.expired(14 * DELAY_STEP_NS));
        assert!(timer.expired(15 * DELAY_STEP_NS));
        assert!(!timer.expired(NEVER - 1));
        timer.event(0, 3, 0);
        assert_eq!(timer.due_ns(), 3 * DELAY_STEP_NS);
    }
}
