//! What stands between a native driver and the host: at `wrapped` what stands before a wasm driver's calls, at `native`
//! only what is checked between calls.
//!
//! The driver is `tests/odd-native`, which gets a number for what to do wrong.

use e1000_regs::TIPG;
use nook_abi::net::Queue;
use nook_abi::net::{NetFault, Owner};
use nook_abi::{ClassFault, Context, Fault, Hostcall};
use nook_native::Level;
use nook_runtime::{Layout, Nook, NookBuilder, NookError, now_ns, parse_manifest};
use nook_tests::{BareDevice, FrameQueues, native};
use odd_native::{MANIFEST, wrong};

/// Returns how it ends at this level: a few rounds and a look at its counters are enough for each of them.
fn ends(level: Level, wrong: u32) -> Option<Fault> {
    let manifest = parse_manifest(MANIFEST.as_bytes()).unwrap();
    let layout = Layout::new(0, &manifest);
    let (device, handle) = BareDevice::new();
    handle.set_register(TIPG.offset().into(), wrong);
    let host = NookBuilder::new(&manifest, &layout, &[&e1000_regs::MAP]).host(Box::new(device)).unwrap();
    let mut nook = Nook::net(host, Box::new(native("odd", &manifest, level)), FrameQueues::default());
    let mut act = || {
        nook.start()?;
        for _ in 0..4 {
            nook.turn(now_ns())?;
        }
        nook.stats().map(drop)
    };
    match act() {
        Ok(()) => None,
        Err(NookError::Fault { fault, .. }) => Some(fault),
        Err(other) => panic!("{other}"),
    }
}

/// At `wrapped` and at `native`.
fn at_both(wrong: u32) -> (Option<Fault>, Option<Fault>) {
    (ends(Level::Wrapped, wrong), ends(Level::Native, wrong))
}

#[test]
fn who_does_nothing_wrong_meets_no_fault() {
    assert_eq!(at_both(wrong::NOTHING), (None, None));
}

#[test]
fn registers_and_contexts_are_checked_at_wrapped_and_not_at_native() {
    let (wrapped, native) = at_both(wrong::OTHER_BAR);
    assert!(matches!(wrapped, Some(Fault::RegisterForbidden { bar: 3, .. })), "{wrapped:?}");
    assert_eq!(native, None);
    let due = Fault::WrongContext { call: Hostcall::SleepNs, context: Context::Atomic };
    assert_eq!(at_both(wrong::SLEEPS), (Some(due), None));
}

#[test]
fn arguments_packets_and_counters_are_checked_at_both() {
    let (wrapped, native) = at_both(wrong::DELAYS);
    assert!(matches!(wrapped, Some(Fault::BadArgument { call: Hostcall::DelayNs, .. })), "{wrapped:?}");
    assert_eq!(wrapped, native);
    let (wrapped, native) = at_both(wrong::RETURNS_TWICE);
    assert!(
        matches!(of_net(wrapped), Some(NetFault::PacketNotOwned { queue: Queue::RxReturn, owner: Owner::Host, .. })),
        "{wrapped:?}"
    );
    assert_eq!(wrapped, native);
    let (wrapped, native) = at_both(wrong::LIES);
    assert!(matches!(of_net(wrapped), Some(NetFault::CountersDisagree { counter: "rx_packets", .. })), "{wrapped:?}");
    assert_eq!(wrapped, native);
}

fn of_net(fault: Option<Fault>) -> Option<NetFault> {
    match fault? {
        Fault::Class(ClassFault::Net(fault)) => Some(fault),
        _ => None,
    }
}
