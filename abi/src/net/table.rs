//! The network class's rows of the tables.

/// Expands `$with! { $state rows }` with every hostcall of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! net_hostcalls {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Makes the network interface, once, in `probe`. `mac` holds the address's first byte in bits 0 to 7; \
`max_mtu` is in bytes." }
            Class PROCESS (1, 0) NetAttach fn net_attach(mac: u64, max_mtu: u32) -> i32;
            { "Says what the device does to frames in the host's place, once, in `probe`, after `net_attach`: bits of \
`offload`. A driver that does not say has none." }
            Class PROCESS (1, 0) NetOffloads fn net_offloads(offloads: u32) -> ();
            { "Reports the link: `up` is 0 or 1, `speed_mbps` 0 if it is down or the device does \
not know, `full_duplex` 0 or 1." }
            Class ANY (1, 0) NetLink fn net_link(up: u32, speed_mbps: u32, full_duplex: u32) -> ();
            { "Asks the nook's filter about a frame of `len_bytes` at `offset` in the window; `direction` is a \
`filter_direction`, the answer a `filter_verdict`. The filter is called without the host; if the nook has none (the \
host page's `filters` is 0), the host answers `PASS`. The SDK makes this call." }
            Class ANY (1, 0) NetFilter fn net_filter(direction: u32, offset: u32, len_bytes: u32) -> u32;
            { "Names the counters that the driver has besides `NetStats`, once, in `probe`: the mailbox holds \
`len_bytes` of ASCII, a name a line. A name is a lower-case letter and up to 30 of these, digits and `_`; there are at \
most 128, all different." }
            Class PROCESS (1, 0) NetCounters fn net_counters(len_bytes: u32) -> ();
            { "Reports what the named counters have counted since the driver's start, in `stats`: the mailbox holds \
`count` words of 64 bits, as many as were named and in that order. None of them is less than was reported before. Over \
restarts the host sums them up." }
            Class PROCESS (1, 0) NetCounts fn net_counts(count: u32) -> ();
        }
    };
}

/// Expands `$with! { $state rows }` with every entry of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! net_entries {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Changes the interface's address; first byte in bits 0 to 7." }
            Process optional setting (1, 0) SetMac fn set_mac(mac: u64) -> i32;
            { "Changes the largest payload, in bytes, without the Ethernet header." }
            Process optional setting (1, 0) SetMtu fn set_mtu(mtu_bytes: u32) -> i32;
            { "Changes what is received: `mode` holds `rx_mode` bits; the mailbox holds `multicast_count` addresses \
of 6 bytes, at most 256." }
            Process optional setting (1, 0) SetRxMode fn set_rx_mode(mode: u32, multicast_count: u32) -> i32;
            { "Turns loopback inside the device on or off: `mode` is a `loopback_mode`. While it is on, what is sent \
is received, nothing passes the cable, and the driver reports a link." }
            Process optional setting (1, 0) SetLoopback fn set_loopback(mode: u32) -> i32;
        }
    };
}
