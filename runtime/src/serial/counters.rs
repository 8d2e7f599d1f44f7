//! What is counted about a serial line.

use nook_abi::serial::received;

crate::counters::counters! {
    /// What is counted about a serial line; it survives the driver's restarts.
    pub struct SerialCounters {
        /// Bytes that the chip was given.
        pub sent: u64,
        /// Bytes that it gave, breaks among them.
        pub received: u64,
        /// Of those, what it had received and nobody had taken when a driver ended.
        pub held_by_chip: u64,
        /// Of those that were sent, what a driver had taken that ended before it could have been known to have left.
        pub in_doubt: u64,
        /// Bytes that were still to be sent when the last driver ended.
        pub not_sent: u64,
        /// Bytes received that nobody had taken when the last driver ended.
        pub not_passed_on: u64,
        /// How often bytes were lost because nobody took them in time: the chip does not say how many.
        pub overruns: u64,
        /// Bytes of wrong parity.
        pub parity_errors: u64,
        /// Bytes without a stop bit.
        pub framing_errors: u64,
        /// Breaks.
        pub breaks: u64,
        /// Changes of the lines from the other side.
        pub modem_changes: u64,
        /// Changes of settings that the driver took.
        pub settings: u64,
        /// Those that it refused.
        pub settings_refused: u64,
    }
}

impl SerialCounters {
    /// Counts a byte, with what is wrong with it.
    pub(super) fn note(&mut self, errors: u32) {
        let of = |bit: u32| u64::from(errors & bit != 0);
        self.received += 1;
        self.overruns += of(received::OVERRUN);
        self.breaks += of(received::BREAK);
        self.parity_errors += of(received::PARITY);
        // A break has no stop bit either.
        self.framing_errors += of(received::FRAMING) & !of(received::BREAK);
    }
}
