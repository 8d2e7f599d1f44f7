//! The limits of a network driver, for docs/expects-net.md. Tests only.

use nook_abi::net::{COUNTER_NAME_BYTES, MOST_COUNTERS, MOST_MULTICAST, NetKeys};
use nook_abi::{Manifest, QUEUE_CAPACITY};

use super::packets::LEAST_BYTES;
use super::{BUDGET, ETHERNET_BYTES, KEEP_CARRIER_NS, TAG_BYTES, USUAL_MTU_BYTES, stall, switches};
use crate::Budgets;
use crate::numbers::{stand_in, time};

#[test]
fn numbers_of_a_network_driver_stand_in_the_document() {
    let budgets = Budgets::default();
    let manifest = "abi = 1.0\nname = a\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 1234:5678\n\
                    registers = a\ndma_bytes = 4096\ndma_mask_bits = 64\n";
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    let NetKeys { rx_buffers, tx_buffers, buffer_bytes, .. } = NetKeys::of(&manifest).unwrap();
    let look = budgets.stall_ns / u64::from(stall::LOOKS);
    stand_in(
        "expects-net.md",
        &[
            ("a call's `budget`: packets each way", BUDGET.to_string(), "they wait for the next call"),
            ("entries in a queue", QUEUE_CAPACITY.to_string(), "`QueueCorrupt`"),
            ("buffers to receive into, unless the manifest says otherwise", rx_buffers.to_string(), "-"),
            ("buffers to send from, unless it does", tx_buffers.to_string(), "-"),
            ("room for a frame in each, unless it does", format!("{buffer_bytes} bytes"), "`PacketMalformed`"),
            ("the shortest frame that is handed up", format!("{LEAST_BYTES} bytes"), "less is `PacketMalformed`"),
            ("the MTU to begin with, if the driver's largest is no less", format!("{USUAL_MTU_BYTES} bytes"), "-"),
            (
                "a frame at that MTU, with a VLAN tag",
                format!("{} bytes", USUAL_MTU_BYTES as usize + ETHERNET_BYTES + TAG_BYTES),
                "it is not given",
            ),
            ("multicast addresses of `set_rx_mode`", MOST_MULTICAST.to_string(), "it is all multicast frames instead"),
            ("names in `COUNTERS`", MOST_COUNTERS.to_string(), "it does not compile"),
            ("bytes of such a name", COUNTER_NAME_BYTES.to_string(), "it does not compile"),
            ("a frame to be sent comes back within", time(budgets.transmit_ns), "`TransmitStuck`"),
            ("without a frame sent, while others wait", time(budgets.stall_ns), "`TransmitStuck`"),
            (
                "the driver's link is the device's within",
                time(look * u64::from(switches::DISAGREES - 1)),
                "`LinkDisagrees`",
            ),
            ("the host looks at the device's counters, with traffic, every", time(look), "-"),
            ("a restarted driver finds its link within", time(KEEP_CARRIER_NS), "the interface loses its carrier"),
        ],
    );
}
