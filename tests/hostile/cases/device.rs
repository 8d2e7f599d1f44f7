//! Devices that fail under their driver.

use nook_abi::Fault::{DeviceFailed, DeviceGone, Revoked};
use nook_abi::net::NetFault;
use nook_abi::{ClassFault, Fault};

use crate::case::{Case, Class, Expect, HARMLESS, Script, Txn, fault};

/// What was written to a device that does not answer is not known.
const NO_DEVICE: Txn = Txn::Stands("there is no device that could be as before the call");

const fn disagree(it: NetFault) -> Expect {
    fault(Fault::Class(ClassFault::Net(it)))
}

/// See [`super::all`].
pub const CASES: &[Case] = &[
    Case::of(
        "delivers_less_than_its_device_received",
        Class::DeviceFailure,
        disagree(NetFault::CountersDisagree {
            counter: "rx_packets",
            device: 1_000_000,
            driver: 0,
            rule: "received frames are missing",
        }),
        &[("stats", "(call $count (i64.const 1000000) (i64.const 0))")],
    ),
    Case {
        txn: Txn::Stands("it shows in `stats`, long after the `poll`s that said so"),
        ..Case::of(
            "says_that_it_sent_what_it_did_not",
            Class::DeviceFailure,
            disagree(NetFault::CountersDisagree {
                counter: "tx_packets",
                device: 0,
                driver: 2000,
                rule: "frames that were returned as sent were not",
            }),
            &[
                ("stats", "(call $count (i64.const 0) (i64.const 0))"),
                (
                    "poll",
                    "(local $entry i32)
                     (loop $again
                         (local.set $entry (call $take (i32.const 2)))
                         (if (local.get $entry) (then (call $put (i32.const 3) (local.get $entry)) (br $again))))
                     (i32.const 1)",
                ),
            ],
        )
    },
    Case {
        name: "sends_its_device_outside_the_window",
        class: Class::DeviceProtocol,
        // The ring is in the window, which the host checks; its first descriptor says that there is a frame of 60 bytes
        // where no memory is, and the device's own reach is what stops it.
        entries: &[
            (
                "open",
                "(call $timer_set (i64.const 1)) (drop (call $dma_on))
             (call $mmio_write32 (i32.const 0) (i32.const 0) (i32.const 0x41))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3800) (i32.load offset=24 (global.get $page)))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3804) (i32.load offset=28 (global.get $page)))
             (i64.store (i32.load offset=8 (global.get $page)) (i64.const 0x7fffffff00000000))
             (i64.store offset=8 (i32.load offset=8 (global.get $page)) (i64.const 0x0b00003c))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3808) (i32.const 4096))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3810) (i32.const 0))
             (call $mmio_write32 (i32.const 0) (i32.const 0x400) (i32.const 2))
             (i32.const 0)",
            ),
            // The device sends once its link is up.
            (
                "timer",
                "(call $timer_set (i64.add (call $clock_ns) (i64.const 1000000)))
                 (call $mmio_write32 (i32.const 0) (i32.const 0x3818) (i32.const 1))",
            ),
        ],
        holds: |nook| nook.host().dma_faults() > 0,
        ..HARMLESS
    },
    Case {
        script: Script::Unplugged,
        txn: NO_DEVICE,
        ..Case::of(
            "device_is_pulled_out",
            Class::DeviceFailure,
            fault(DeviceGone),
            &[("poll", "(call $mmio_read32 (i32.const 0) (i32.const 8))")],
        )
    },
    Case {
        script: Script::Unplugged,
        txn: NO_DEVICE,
        ..Case::of(
            "device_is_gone_at_the_flush",
            Class::DeviceFailure,
            fault(DeviceGone),
            &[("poll", "(call $mmio_flush) (i32.const 0)")],
        )
    },
    Case {
        script: Script::Fails,
        txn: NO_DEVICE,
        ..Case::of(
            "register_write_fails",
            Class::DeviceFailure,
            fault(DeviceFailed),
            &[("poll", "(call $mmio_write32 (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0)")],
        )
    },
    Case {
        script: Script::TakenAway,
        txn: NO_DEVICE,
        ..Case::of(
            "goes_on_after_its_device_was_taken_away",
            Class::Hang,
            fault(Revoked),
            &[("poll", "(drop (call $mmio_read32 (i32.const 0) (i32.const 8))) (call $spin) (i32.const 0)")],
        )
    },
];
