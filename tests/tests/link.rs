//! A cable that is pulled out and put back, under traffic: the driver wakes, and frames that waited are sent or given
//! back, and counted.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e1000_model::{Model, ModelConfig};
use nook_bus::DmaWindow;
use nook_net_api::Wire;
use nook_runtime::{Budgets, Net, Nook, now_ns};
use nook_tests::{CableEnd, FrameQueues, Isolation, Rig, cable, e1000_module, frame, host, side_by_side};

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
