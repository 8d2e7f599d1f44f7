//! What stands between a native driver and the host: at `wrapped` what stands before a wasm driver's calls, at `native`
//! only what is checked between calls.

use std::marker::PhantomData;

use e1000_regs::{CTRL, STATUS};
use nook_abi::{Context, Fault, Hostcall, Owner, Queue};
use nook_bus::DmaWindow;
use nook_native::{Checked, Level, NativeKernel, NativeLauncher, Unchecked};
use nook_runtime::{Budgets, Nook, NookError, now_ns};
use nook_sdk::{Irq, Kernel, LinkState, NetDriver, NetQueues, NetStats, Packet, Poll, ProbeReason, Status};
use nook_tests::{Bare, FrameQueues, e1000_module, host};

/// What a driver does wrong, once it is polled.
trait Wrong: 'static {
    fn act<K: Kernel>(nook: nook_sdk::Nook<K>, queues: &mut NetQueues);
    fn stats() -> NetStats {
        NetStats::default()
    }
}

struct Odd<K, W> {
    nook: nook_sdk::Nook<K>,
    queues: NetQueues,
    wrong: PhantomData<W>,
}

impl<K: Kernel, W: Wrong> NetDriver<K> for Odd<K, W> {
    fn probe(nook: nook_sdk::Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        nook.net_attach([2, 0, 0, 0, 0, 1], 1500)?;
        Ok(Odd { nook, queues: nook.queues(), wrong: PhantomData })
    }
    fn remove(self) {}
    fn open(&mut self) -> Result<(), Status> {
        self.nook.net_link(LinkState { up: true, speed_mbps: 1000, full_duplex: true });
        Ok(())
    }
    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }
    fn poll(&mut self, _: u32, _: u32) -> Poll {
        W::act(self.nook, &mut self.queues);
        Poll::Idle
    }
    fn irq(&mut self, _: u32) -> Irq {
        Irq::NotMine
    }
    fn stats(&mut self) -> NetStats {
        W::stats()
    }
}

/// How it ends at this level: a few rounds and a look at its counters are enough for each of them.
fn ends<L: Level, W: Wrong>() -> Option<Fault> {
    let module = e1000_module();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(Bare::new().0), window, &module, Budgets::default());
    let launcher = NativeLauncher::<L, Odd<NativeKernel<L>, W>>::new(*module.layout());
    let mut nook = Nook::new(host, Box::new(launcher), FrameQueues::default());
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
fn at_both<W: Wrong>() -> (Option<Fault>, Option<Fault>) {
    (ends::<Checked, W>(), ends::<Unchecked, W>())
}

macro_rules! wrong {
    ($name:ident, |$nook:ident, $queues:ident| $act:expr) => {
        struct $name;
        impl Wrong for $name {
            fn act<K: Kernel>($nook: nook_sdk::Nook<K>, $queues: &mut NetQueues) {
                $act
            }
        }
    };
}

wrong!(OtherBar, |nook, _queues| {
    nook.regs(3).read(STATUS);
});
wrong!(Sleeps, |nook, _queues| nook.sleep_ns(1));
wrong!(Delays, |nook, _queues| nook.delay_ns(u32::MAX));
wrong!(ReturnsTwice, |_nook, queues| {
    if let Some(entry) = queues.rx_provide.begin().next() {
        let mut returning = queues.rx_return.begin();
        for _ in 0..2 {
            if let Some(place) = returning.vacant() {
                place.put(Packet::from(&entry).received(60));
            }
        }
    }
});

struct Lies;

impl Wrong for Lies {
    fn act<K: Kernel>(nook: nook_sdk::Nook<K>, _: &mut NetQueues) {
        nook.regs(0).modify(CTRL, |value| value);
    }
    fn stats() -> NetStats {
        NetStats { rx_packets: 1_000_000, ..NetStats::default() }
    }
}

#[test]
fn registers_and_contexts_are_checked_at_wrapped_and_not_at_native() {
    let (wrapped, native) = at_both::<OtherBar>();
    assert!(matches!(wrapped, Some(Fault::RegisterForbidden { bar: 3, .. })), "{wrapped:?}");
    assert_eq!(native, None);
    let due = Fault::WrongContext { call: Hostcall::SleepNs, context: Context::Atomic };
    assert_eq!(at_both::<Sleeps>(), (Some(due), None));
}

#[test]
fn arguments_packets_and_counters_are_checked_at_both() {
    let (wrapped, native) = at_both::<Delays>();
    assert!(matches!(wrapped, Some(Fault::BadArgument { call: Hostcall::DelayNs, .. })), "{wrapped:?}");
    assert_eq!(wrapped, native);
    let (wrapped, native) = at_both::<ReturnsTwice>();
    assert!(
        matches!(wrapped, Some(Fault::PacketNotOwned { queue: Queue::RxReturn, owner: Owner::Host, .. })),
        "{wrapped:?}"
    );
    assert_eq!(wrapped, native);
    let (wrapped, native) = at_both::<Lies>();
    assert!(matches!(wrapped, Some(Fault::CountersDisagree { counter: "rx_packets", .. })), "{wrapped:?}");
    assert_eq!(wrapped, native);
}
