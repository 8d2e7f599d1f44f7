//! What the class has in the host page.

/// Where the packet buffers are. Buffer `id` begins at `offset + id * stride_bytes` in the window; the frame begins
/// `headroom_bytes` after that and has `room_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PoolLayout {
    /// Bytes from the start of the window to buffer 0.
    pub offset: u32,
    /// How many buffers.
    pub count: u32,
    /// Bytes from one to the next.
    pub stride_bytes: u32,
    /// Bytes before the frame.
    pub headroom_bytes: u32,
    /// Bytes for the frame.
    pub room_bytes: u32,
    /// Zero.
    pub reserved: u32,
}

/// Counters since the driver's start, as the device and the driver count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetStats {
    /// Good frames received.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Good frames for which there was no room in the device.
    pub rx_missed: u64,
    /// Frames with a wrong check sequence.
    pub rx_crc_errors: u64,
    /// Frames received whose length was wrong.
    pub rx_length_errors: u64,
    /// Multicast frames received.
    pub multicast: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
    /// Frames not sent because of an error.
    pub tx_errors: u64,
    /// Collisions.
    pub collisions: u64,
    /// Times the driver found the transmitter stuck and reset it.
    pub tx_timeouts: u64,
}
