//! What the page and the header both go through: the sources, the shared structs, the sets of numbers.

use std::mem::{align_of, offset_of, size_of};

use nook_abi::block::*;
use nook_abi::net::*;
use nook_abi::*;

pub const BLOCK_DISK: &str = include_str!("../../src/block/disk.rs");
pub const BLOCK_FAULT: &str = include_str!("../../src/block/fault.rs");
pub const BLOCK_MANIFEST: &str = include_str!("../../src/block/manifest.rs");
pub const BLOCK_PAGE: &str = include_str!("../../src/block/page.rs");
pub const BLOCK_QUEUE: &str = include_str!("../../src/block/queue.rs");
pub const FAULT: &str = include_str!("../../src/fault.rs");
pub const LAYOUT: &str = include_str!("../../src/layout.rs");
pub const LIB: &str = include_str!("../../src/lib.rs");
pub const MANIFEST: &str = include_str!("../../src/manifest.rs");
pub const MISC_FAULT: &str = include_str!("../../src/misc/fault.rs");
pub const NET_FAULT: &str = include_str!("../../src/net/fault.rs");
pub const NET_MANIFEST: &str = include_str!("../../src/net/manifest.rs");
pub const NET_FILTER: &str = include_str!("../../src/net/filter.rs");
pub const NET_SIDE: &str = include_str!("../../src/net/side.rs");
pub const NET_PAGE: &str = include_str!("../../src/net/page.rs");
pub const NET_QUEUE: &str = include_str!("../../src/net/queue.rs");
pub const NET_SETTINGS: &str = include_str!("../../src/net/settings.rs");
pub const QUEUE: &str = include_str!("../../src/queue.rs");
pub const SERIAL_FAULT: &str = include_str!("../../src/serial/fault.rs");
pub const SERIAL_LINE: &str = include_str!("../../src/serial/line.rs");
pub const STATUS: &str = include_str!("../../src/status.rs");
pub const TABLE: &str = include_str!("../../src/table.rs");

/// A field of a shared struct.
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
}

/// Size, alignment and fields of a struct; it does not compile if a field is left out.
macro_rules! layout {
    ($name:ident { $($field:ident),* $(,)? }) => {{
        let $name { $($field: _),* } = $name::default();
        fn size_of_field<T>(_: fn(&$name) -> &T) -> usize {
            size_of::<T>()
        }
        let fields = vec![$(Field {
            name: stringify!($field),
            offset: offset_of!($name, $field),
            size: size_of_field(|it| &it.$field),
        }),*];
        (stringify!($name), size_of::<$name>(), align_of::<$name>(), fields)
    }};
}

/// A shared struct: its name, size and alignment in bytes, and fields.
pub type Struct = (&'static str, usize, usize, Vec<Field>);

/// Returns the structs that host and driver share, each with the source that declares it.
pub fn structs() -> Vec<(&'static str, Struct)> {
    vec![
        (
            LAYOUT,
            layout!(HostPage {
                magic,
                abi_major,
                abi_minor,
                window_addr,
                window_len_bytes,
                window_iova,
                heap_addr,
                heap_len_bytes,
                mailbox_addr,
                now_ns,
                irq_vectors,
                stats_written,
                doorbell_room,
                doorbell_count,
                doorbells,
                class
            }),
        ),
        (NET_PAGE, layout!(PoolLayout { offset, count, stride_bytes, headroom_bytes, room_bytes, reserved })),
        (QUEUE, layout!(RingHeader { produced, consumed })),
        (NET_PAGE, layout!(NetPage { rings, sides, pool, filters, stats, queues })),
        (NET_QUEUE, layout!(QueueEntry { id, generation, flags, len_bytes, status, reserved })),
        (
            NET_SIDE,
            layout!(Side {
                flags,
                network_start,
                checksum_start,
                checksum_offset,
                header_bytes,
                segment_bytes,
                frame_bytes
            }),
        ),
        (
            NET_PAGE,
            layout!(NetStats {
                rx_packets,
                rx_bytes,
                rx_errors,
                rx_missed,
                rx_crc_errors,
                rx_length_errors,
                multicast,
                tx_packets,
                tx_bytes,
                tx_errors,
                collisions,
                tx_timeouts
            }),
        ),
        (
            BLOCK_PAGE,
            layout!(BlockPage { requests, completions, most_requests, transfer_bytes, disk_number, queue_pairs }),
        ),
        (BLOCK_QUEUE, layout!(BlockRequest { id, generation, op, flags, first, blocks, len_bytes, offset, reserved })),
        (BLOCK_QUEUE, layout!(BlockCompletion { id, generation, status, detail, reserved })),
        (BLOCK_DISK, layout!(Disk { blocks, block_bytes, max_blocks, max_zeroes, flags, serial })),
    ]
}

/// Returns the sets of numbers: name, source, how the declaration begins, what it is of.
pub fn sets() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    vec![
        ("ProbeReason", LIB, "pub enum ProbeReason {", "The argument `reason` of `probe`."),
        ("irq_result", LIB, "pub mod irq_result {", "Bits of what `irq` returns."),
        ("poll_flags", NET_SETTINGS, "pub mod poll_flags {", "Bits of the argument `flags` of `poll`."),
        ("poll_result", LIB, "pub mod poll_result {", "What `poll` returns."),
        ("log_level", LIB, "pub mod log_level {", "The argument `level` of `log`."),
        ("rx_mode", NET_SETTINGS, "pub mod rx_mode {", "Bits of the argument `mode` of `set_rx_mode`."),
        ("loopback_mode", NET_SETTINGS, "pub mod loopback_mode {", "The argument `mode` of `set_loopback`."),
        ("filter_direction", NET_FILTER, "pub mod filter_direction {", "The argument `direction` of `net_filter`."),
        ("filter_verdict", NET_FILTER, "pub mod filter_verdict {", "What `net_filter` returns."),
        ("entry_flags", NET_QUEUE, "pub mod entry_flags {", "Bits of `QueueEntry.flags`."),
        ("offload", NET_SIDE, "pub mod offload {", "Bits of the argument `offloads` of `net_offloads`."),
        ("side_flags", NET_SIDE, "pub mod side_flags {", "Bits of `Side.flags`."),
        ("PacketStatus", NET_QUEUE, "pub enum PacketStatus {", "`QueueEntry.status` of a returned entry."),
        ("disk_flags", BLOCK_DISK, "pub mod disk_flags {", "Bits of `Disk.flags`."),
        ("BlockOp", BLOCK_QUEUE, "pub enum BlockOp {", "`BlockRequest.op`."),
        ("request_flags", BLOCK_QUEUE, "pub mod request_flags {", "Bits of `BlockRequest.flags`."),
        ("BlockStatus", BLOCK_QUEUE, "pub enum BlockStatus {", "`BlockCompletion.status`."),
        ("Parity", SERIAL_LINE, "pub enum Parity {", "Bits 8 to 15 of the argument `format` of `set_line`."),
        ("control", SERIAL_LINE, "pub mod control {", "Bits of the argument `lines` of `set_control`."),
        ("modem", SERIAL_LINE, "pub mod modem {", "Bits of the argument `lines` of `serial_modem`."),
        ("received", SERIAL_LINE, "pub mod received {", "Bits of the argument `value` of `serial_received`."),
        (
            "serial_poll",
            SERIAL_LINE,
            "pub mod serial_poll {",
            "Bits of the argument `flags` of `poll`, of class `serial`.",
        ),
    ]
}
