//! A cable that is pulled out and put back, under traffic: the driver wakes, and frames that waited are sent or given
//! back, and counted. And a link partner that asks for pauses, or is asked.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use e1000_model::{Behaviour, Model, ModelConfig};
use e1000_regs::{CTRL, phy::an};
use nook_bus::{BusAccess, Clock, DmaWindow, Tracing};
use nook_net_api::Wire;
use nook_runtime::{Budgets, Mmio, ModuleCache, Net, Nook, NookBuilder, Settings, WasmLauncher, now_ns};
use nook_tests::{
    CableEnd, Device, FrameQueues, Isolation, Rig, cable, e1000_module, frame, host, qemus, side_by_side,
};

/// A cable that can be pulled out.
struct Pluggable {
    end: CableEnd,
    plugged: Arc<AtomicBool>,
}

impl Wire for Pluggable {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        self.end.send(frame)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.end.recv(buffer)
    }

    fn carrier(&self) -> bool {
        self.plugged.load(Ordering::Relaxed)
    }

    fn due_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.end.due_ns(now_ns)
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        self.end.event_fds(fds);
    }
}

/// How long a frame may be with the driver: much less than links are down here.
const TRANSMIT_NS: u64 = 500_000_000;

/// Returns a driver with a link, and what its cable's plug is.
fn up(isolation: Isolation, seed: u64) -> (Rig, Arc<AtomicBool>) {
    let module = e1000_module();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let ((end, far), plugged) = (cable(), Arc::new(AtomicBool::new(true)));
    let near = Pluggable { end, plugged: plugged.clone() };
    let model = Model::new(ModelConfig { seed, ..ModelConfig::default() }, Box::new(near));
    let budgets = Budgets { transmit_ns: TRANSMIT_NS, ..Budgets::default() };
    let nook: Nook<Net<FrameQueues>> =
        Nook::net(host(Box::new(model), window, &module, budgets), isolation.launcher(), FrameQueues::default());
    let mut rig = Rig { nook, far: Box::new(far) };
    rig.nook.start().unwrap();
    until_link(&mut rig, true);
    (rig, plugged)
}

fn until_link(rig: &mut Rig, up: bool) {
    rig.until("the link changes", |rig| rig.nook.backend().links.last().copied().unwrap_or(false) == up);
}

/// Lets time pass.
fn rest(rig: &mut Rig, ns: u64) {
    let end = now_ns() + ns;
    rig.until("time passes", |_| now_ns() >= end);
}

/// Pulls the cable out while the device has frames to send.
fn pull_out(rig: &mut Rig, plugged: &AtomicBool) {
    let mut given = 0;
    // The device takes its time, so that sooner or later it has some when the driver has returned.
    rig.until("frames are under way", |rig| {
        rig.nook.backend_mut().to_send.extend((given..given + 20).map(|n| frame(n, 60)));
        given += 20;
        rig.turn().unwrap();
        rig.nook.net_counters().tx_packets > rig.nook.net_counters().tx_done
    });
    plugged.store(false, Ordering::Relaxed);
}

#[test]
fn frames_that_wait_for_a_lost_link_are_given_back_and_counted_and_the_driver_wakes_with_the_link() {
    side_by_side(Isolation::all(), |&isolation| {
        let (mut rig, plugged) = up(isolation, 1);
        pull_out(&mut rig, &plugged);
        until_link(&mut rig, false);
        // What is stuck is no fault of the driver's, however long it takes.
        rig.until("the driver has no frames", |rig| {
            let counted = rig.nook.net_counters();
            counted.tx_done + counted.tx_failed == counted.tx_packets
        });
        rest(&mut rig, 2 * TRANSMIT_NS);
        let arrived = rig.arrived().len() as u64;
        let counted = *rig.nook.net_counters();
        assert_eq!(counted.tx_done, arrived, "{isolation:?}: what was said to be sent was");
        assert_eq!(rig.nook.stats().unwrap().tx_timeouts, 0, "{isolation:?}");
        plugged.store(true, Ordering::Relaxed);
        until_link(&mut rig, true);
        assert_eq!(rig.nook.backend().links, [true, false, true], "{isolation:?}");
        rig.nook.backend_mut().to_send.clear();
        rig.nook.backend_mut().to_send.extend((0..50).map(|n| frame(1_000_000 + n, 60)));
        let mut later = 0;
        rig.until("frames pass again", |rig| {
            later += rig.arrived().iter().filter(|frame| frame[14..18] >= 1_000_000u32.to_be_bytes()[..]).count();
            later == 50
        });
        assert!(rig.far.send(&frame(7, 60)).unwrap());
        rig.until("and the other way", |rig| !rig.nook.backend().received.is_empty());
    });
}

#[test]
fn a_link_that_is_lost_for_a_moment_loses_no_frame_that_was_given() {
    side_by_side(1..=4, |seed| {
        let (mut rig, plugged) = up(Isolation::SfiTxn, seed);
        pull_out(&mut rig, &plugged);
        until_link(&mut rig, false);
        plugged.store(true, Ordering::Relaxed);
        until_link(&mut rig, true);
        rig.settle();
        let counted = *rig.nook.net_counters();
        assert_eq!((counted.tx_done, counted.tx_failed), (counted.tx_packets, 0), "seed {seed}");
        assert_eq!(rig.arrived().len() as u64, counted.tx_done, "seed {seed}");
    });
}

#[test]
fn a_link_that_flaps_is_followed_and_ends_as_it_is() {
    let (mut rig, plugged) = up(Isolation::Sfi, 1);
    for _ in 0..20 {
        plugged.store(false, Ordering::Relaxed);
        until_link(&mut rig, false);
        plugged.store(true, Ordering::Relaxed);
        until_link(&mut rig, true);
    }
    let links = &rig.nook.backend().links;
    assert_eq!(links.len(), 41);
    assert!(links.windows(2).all(|pair| pair[0] != pair[1]), "no change is reported twice");
}

/// Returns the frame that asks for a pause of this many times 512 bits.
fn pause(quanta: u16) -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x01, 2, 0, 0, 0, 0, 1, 0x88, 0x08, 0, 1];
    frame.extend(quanta.to_be_bytes());
    frame.resize(60, 0);
    frame
}

fn is_pause(frame: &[u8]) -> bool {
    frame[12..14] == [0x88, 0x08]
}

/// Returns a driver with a link, on virtual time.
fn paced(behaviour: Behaviour) -> Rig {
    let module = e1000_module();
    let launcher = WasmLauncher::new(module.clone(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let (near, far) = cable();
    let model = Model::new(ModelConfig { behaviour, ..ModelConfig::default() }, Box::new(near));
    let maps = [&e1000_regs::MAP];
    let builder = NookBuilder::of(&module, &maps).clock(Clock::new_virtual());
    let mut nook = builder.net(Box::new(model), Box::new(launcher), FrameQueues::default()).unwrap();
    nook.start().unwrap();
    let mut rig = Rig { nook, far: Box::new(far) };
    lasts(&mut rig, 100, |_| ());
    assert_eq!(rig.nook.backend().links, [true]);
    rig
}

/// Lets this many milliseconds pass, and does something in each of them.
fn lasts(rig: &mut Rig, ms: u64, mut does: impl FnMut(&mut Rig)) {
    for _ in 0..ms {
        does(rig);
        let end = rig.nook.clock().now_ns() + 1_000_000;
        while rig.nook.clock().now_ns() < end {
            rig.nook.turn(end).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

fn counted(rig: &mut Rig, name: &str) -> u64 {
    rig.nook.stats().unwrap();
    let counters = rig.nook.named_counters();
    counters.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn a_pause_that_lasts_is_no_fault_and_what_waited_leaves_when_it_ends() {
    for behaviour in [Behaviour::calm(), Behaviour::adversarial()] {
        let mut rig = paced(behaviour);
        assert!(rig.far.send(&pause(u16::MAX)).unwrap());
        lasts(&mut rig, 1, |_| ());
        rig.nook.backend_mut().to_send.extend((0..10).map(|n| frame(n, 100)));
        // Longer than a frame may be with the driver otherwise.
        lasts(&mut rig, 3 * Budgets::default().transmit_ns / 1_000_000, |rig| {
            assert!(rig.far.send(&pause(u16::MAX)).unwrap());
            assert_eq!(rig.arrived(), Vec::<Vec<u8>>::new());
        });
        assert!(rig.far.send(&pause(0)).unwrap());
        lasts(&mut rig, 5, |_| ());
        assert!(rig.arrived() == (0..10).map(|n| frame(n, 100)).collect::<Vec<_>>());
        assert_eq!((counted(&mut rig, "rx_flow_control_xon"), rig.nook.stats().unwrap().tx_timeouts), (1, 0));
        assert!(counted(&mut rig, "rx_flow_control_xoff") >= 30_000);
        assert!(rig.nook.backend().received.is_empty(), "PAUSE frames are the card's business");
    }
}

#[test]
fn what_both_ends_offer_decides_who_asks_for_pauses_and_who_makes_them() {
    for (partner_offers, obeys, asks) in [
        (0, false, false),
        (an::ASYM_PAUSE, true, false),
        (an::PAUSE, true, true),
        (an::PAUSE | an::ASYM_PAUSE, true, true),
    ] {
        for behaviour in [Behaviour::calm(), Behaviour::adversarial()] {
            let seen = Behaviour { partner_offers, pauses_one_in: 0, takes_pauses: false, ..behaviour };
            let mut rig = paced(seen);
            assert!(rig.far.send(&pause(u16::MAX)).unwrap());
            lasts(&mut rig, 1, |_| ());
            rig.nook.backend_mut().to_send.push_back(frame(1, 100));
            lasts(&mut rig, 5, |_| ());
            assert_eq!(rig.arrived().is_empty(), obeys, "{partner_offers:#x}");
            assert_eq!(counted(&mut rig, "rx_flow_control_xoff"), u64::from(obeys));
            lasts(&mut rig, 50, |_| ());
            rig.arrived();
            // More at once than the ring takes: with long frames expected, each needs two descriptors.
            rig.nook.set(Settings { mtu_bytes: Some(9000), ..Settings::default() }).unwrap();
            lasts(&mut rig, 100, |_| ());
            (0..1000).for_each(|n| assert!(rig.far.send(&frame(n, 1500)).unwrap()));
            lasts(&mut rig, 100, |_| ());
            // While there is no flow control they are frames as others, for a group.
            rig.nook.backend_mut().received.retain(|frame| !is_pause(frame));
            assert!(rig.nook.backend().received == (0..1000).map(|n| frame(n, 1500)).collect::<Vec<_>>());
            let pauses = rig.arrived().iter().filter(|frame| is_pause(frame)).count() as u64;
            assert_eq!(pauses > 0, asks, "{partner_offers:#x}");
            let sent = counted(&mut rig, "tx_flow_control_xoff") + counted(&mut rig, "tx_flow_control_xon");
            assert_eq!((pauses, counted(&mut rig, "rx_missed_errors")), (sent, 0));
        }
    }
}

/// QEMU's e1000e negotiates pauses, and the others do not; all obey none, ask for none, and pass such a frame on if it
/// is addressed to them.
#[test]
fn on_qemus_cards_nobody_makes_or_asks_for_a_pause_whatever_was_agreed_on() {
    side_by_side(qemus(), |name| {
        let ctrl = Arc::new(AtomicU64::new(0));
        let seen = ctrl.clone();
        let sink = move |access| match access {
            BusAccess::Write { offset, value, .. } if offset == CTRL.offset() => seen.store(value, Ordering::Relaxed),
            _ => {}
        };
        let device = Device::Qemu(name);
        let rig = Rig::seen_by(&device, Isolation::Sfi.launcher(), |device| Box::new(Tracing::new(device, sink)));
        let mut rig = rig.comes_up(&device);
        // The partner of QEMU's e1000 offers nothing.
        let agreed = u64::from(if name == "e1000e" { CTRL::RFCE | CTRL::TFCE } else { 0 });
        let flow = u64::from(CTRL::RFCE | CTRL::TFCE);
        rig.until("both ends agreed", |_| ctrl.load(Ordering::Relaxed) & flow == agreed);
        let mut to_itself = pause(u16::MAX);
        to_itself[..6].copy_from_slice(&rig.nook.interface().unwrap().mac);
        assert!(rig.far.send(&to_itself).unwrap());
        rig.until("it came", |rig| rig.nook.backend().received.contains(&to_itself));
        rig.nook.backend_mut().to_send.extend((0..50).map(|n| frame(n, 100)));
        let mut arrived = 0;
        rig.until("all arrived", |rig| {
            arrived += rig.arrived().len();
            arrived == 50
        });
        for flow in ["rx_flow_control_xoff", "rx_flow_control_unknown", "tx_flow_control_xoff"] {
            assert_eq!(counted(&mut rig, flow), 0, "{name}: {flow}");
        }
    });
}
