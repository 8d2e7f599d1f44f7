//! Interrupts (PCIe 3.5): a line whose level follows the completion queues, or messages.

/// What the bus makes of the device's interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Off,
    /// The line is open.
    Open,
    /// It fired and waits to be opened again.
    Masked,
    /// Messages, this many vectors.
    Messages(u32),
}

#[derive(Debug)]
pub(crate) struct Irq {
    gate: Gate,
    /// The mask of `INTMS` and `INTMC`; of the line only.
    mask: u32,
    /// Messages that are to be sent.
    pending: u32,
}

impl Irq {
    pub(crate) const fn new() -> Self {
        Irq { gate: Gate::Off, mask: 0, pending: 0 }
    }

    /// Resets the controller; the bus is not reset.
    pub(crate) fn reset(&mut self) {
        (self.mask, self.pending) = (0, 0);
    }

    pub(crate) fn open_line(&mut self) {
        self.gate = Gate::Open;
    }

    pub(crate) fn open_messages(&mut self, vectors: u32) {
        self.gate = Gate::Messages(vectors);
    }

    pub(crate) fn close(&mut self) {
        self.gate = Gate::Off;
        self.pending = 0;
    }

    pub(crate) fn unmask(&mut self) {
        if self.gate == Gate::Masked {
            self.gate = Gate::Open;
        }
    }

    /// Returns how many vectors a completion queue may name.
    pub(crate) fn vectors(&self) -> u32 {
        match self.gate {
            Gate::Messages(vectors) => vectors,
            _ => 1,
        }
    }

    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    /// Writes `INTMS` or `INTMC`. With messages both are nobody's to touch: nothing happens.
    pub(crate) fn set_mask(&mut self, bits: u32, on: bool) {
        if !matches!(self.gate, Gate::Messages(_)) {
            self.mask = if on { self.mask | bits } else { self.mask & !bits };
        }
    }

    /// A completion was left in a queue that interrupts with `vector`.
    pub(crate) fn message(&mut self, vector: u16) {
        if matches!(self.gate, Gate::Messages(vectors) if u32::from(vector) < vectors) {
            self.pending |= 1 << vector;
        }
    }

    /// Returns the vectors that fire now. `level` says whether a queue that interrupts has entries, `spurious` whether
    /// an interrupt comes for nothing, and with which vector.
    pub(crate) fn fires(&mut self, level: bool, spurious: Option<u32>) -> u32 {
        match self.gate {
            Gate::Open if level && self.mask & 1 == 0 || spurious.is_some() => {
                self.gate = Gate::Masked;
                1
            }
            Gate::Messages(vectors) => {
                let spurious = spurious.map_or(0, |vector| 1 << (vector % vectors));
                std::mem::take(&mut self.pending) | spurious
            }
            _ => 0,
        }
    }
}
