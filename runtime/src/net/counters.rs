//! What is counted about an interface.

use nook_abi::net::NetStats;

use crate::Named;

crate::counters::counters! {
    /// Counts since the nook was made; they survive the driver's restarts.
    pub struct NetCounters {
        /// Frames handed from the driver to the interface, as it confirmed them at the end of each batch.
        pub rx_packets: u64,
        /// Bytes in them.
        pub rx_bytes: u64,
        /// Frames from the driver for which the interface had no room.
        pub rx_no_room: u64,
        /// Received frames that the driver gave back as failed.
        pub rx_failed: u64,
        /// Received frames that the nook's filter did not let pass.
        pub rx_dropped: u64,
        /// Received frames that were given up because the driver faulted at them.
        pub rx_poison: u64,
        /// Received frames whose checksum the device found right and nobody else looked at.
        pub rx_checked: u64,
        /// Frames handed from the interface to the driver.
        pub tx_packets: u64,
        /// Bytes in them.
        pub tx_bytes: u64,
        /// Packets that the interface had to send and of which no frame for this driver could be made: too long for it,
        /// or with headers that cannot be cut up.
        pub tx_unfit: u64,
        /// Frames whose checksum was left to the device, those that it had to cut into segments among them.
        pub tx_checksums: u64,
        /// Frames that the device had to cut into segments.
        pub tx_segmented: u64,
        /// Frames that the driver gave back as sent.
        pub tx_done: u64,
        /// Frames that the driver gave back as not sent.
        pub tx_failed: u64,
        /// Frames to be sent that the nook's filter did not let pass.
        pub tx_dropped: u64,
        /// Frames to be sent that were given up because the driver faulted at them.
        pub tx_poison: u64,
        /// Frames to be sent that a driver had when it ended, or was restored from a snapshot, and that were not given
        /// again: they may have been sent, and may be lost. Those that the next driver does not take are among them.
        pub tx_given_up: u64,
    }
}

impl NetCounters {
    /// Frames, both ways.
    pub fn packets(&self) -> u64 {
        self.rx_packets + self.tx_packets
    }

    /// Returns how many received frames came out of the driver.
    pub(crate) fn handed_up(&self) -> u64 {
        self.rx_packets + self.rx_no_room + self.rx_failed + self.rx_dropped
    }

    /// Returns how many received frames it handed up as good ones, whatever became of them.
    pub(crate) fn good(&self) -> u64 {
        self.rx_packets + self.rx_no_room + self.rx_dropped + self.rx_poison
    }

    /// Returns how many frames to be sent came back.
    pub(crate) fn came_back(&self) -> u64 {
        self.tx_done + self.tx_failed + self.tx_dropped
    }

    /// Returns how many frames came out of the driver, of either direction.
    pub(crate) fn returned(&self) -> u64 {
        self.handed_up() + self.came_back()
    }
}

impl Named for NetStats {
    fn named(&self) -> Vec<(&'static str, u64)> {
        NetStats::NAMES.into_iter().zip(self.to_words()).collect()
    }
}
