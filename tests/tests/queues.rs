//! Several receive queues: the card spreads flows over them, each has a vector and calls of `poll`, and each flow keeps
//! its order, whatever becomes of the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use e1000_model::ModelConfig;
use e1000_regs::{RSS_KEY, rss_hash};
use nook_abi::Entry;
use nook_bus::{BusAccess, Tracing};
use nook_recovery::Policy;
use nook_runtime::{CrashWhen, Launcher, ModuleCache, RollbackMethod, WasmLauncher, now_ns};
use nook_tests::{Device, Isolation, Rig, Supervised, e1000_module, frame, side_by_side};

/// The card that has two.
const CARD: Device = Device::Qemu("e1000e");
const FLOWS: u16 = 32;
const PACKETS: u32 = 40;
/// As long as an Ethernet header, and headers of IPv4 and TCP.
const HEADERS: usize = 54;
const FROM: [u8; 4] = [10, 0, 2, 2];
const TO: [u8; 4] = [10, 0, 2, 15];

/// Returns a packet of TCP of a flow, which is its source port, to this address.
fn packet(to: [u8; 6], flow: u16, number: u32) -> Vec<u8> {
    let mut ip = [[0x45, 0, 0, 60], [0, 0, 0, 0], [64, 6, 0, 0], FROM, TO].concat();
    let sum: u32 = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    ip[10..12].copy_from_slice(&(!(((sum >> 16) + sum) & 0xffff) as u16).to_be_bytes());
    let mut packet = [&to[..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip].concat();
    packet.extend([flow, 5000].map(u16::to_be_bytes).concat());
    packet.extend(number.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    assert_eq!(packet.len(), HEADERS);
    packet.resize(74, flow as u8);
    packet
}

/// Returns the queue that the driver has the card choose for a flow.
fn queue(flow: u16) -> usize {
    let ports = [flow, 5000].map(u16::to_be_bytes).concat();
    // Each second entry of the table is of the second queue.
    (rss_hash(&RSS_KEY, &[&FROM, &TO, &ports[..]].concat()) & 1) as usize
}

/// Puts driver and card together, with as many queues as are wanted.
fn up(queues: u32, device: &Device, launcher: Box<dyn Launcher>, policy: Policy) -> Supervised {
    let rig = Rig::with_queues(queues, device, launcher, |device| device);
    Supervised::new(rig.comes_up(device), policy)
}

/// Returns what the interface has received: flows and numbers.
fn received(this: &mut Supervised) -> Vec<(u16, u32)> {
    let mac = this.supervisor.nook().interface().unwrap().mac;
    let of = |packet: Vec<u8>| {
        let flow = u16::from_be_bytes([packet[34], packet[35]]);
        let number = u32::from_be_bytes(packet[38..42].try_into().unwrap());
        assert_eq!(packet, self::packet(mac, flow, number));
        (flow, number)
    };
    std::mem::take(&mut this.supervisor.nook_mut().backend_mut().received).into_iter().map(of).collect()
}

/// Sends packets of each flow. Returns which came, when all have.
fn pass(this: &mut Supervised) -> Vec<(u16, u32)> {
    let mac = this.supervisor.nook().interface().unwrap().mac;
    let sent: Vec<_> = (0..PACKETS).flat_map(|number| (0..FLOWS).map(move |flow| (flow, number))).collect();
    let mut next = 0;
    this.until("all came", |this| {
        let came = this.supervisor.nook().backend().received.len();
        // No more under way than one queue can hold.
        while next < sent.len() && next < came + 24 {
            assert!(this.far.send(&packet(mac, sent[next].0, sent[next].1)).unwrap());
            next += 1;
        }
        came >= sent.len()
    });
    received(this)
}

/// Checks that all packets of each flow came once and in their order.
fn in_order(came: &[(u16, u32)]) {
    for flow in 0..FLOWS {
        let of: Vec<_> = came.iter().filter(|(it, _)| *it == flow).map(|(_, number)| *number).collect();
        assert!(of.iter().copied().eq(0..PACKETS), "flow {flow}: {of:?}");
    }
}

/// Returns what the driver says that came through each queue.
fn counted(this: &mut Supervised) -> [u64; 2] {
    let nook = this.supervisor.nook_mut();
    nook.stats().unwrap();
    let counts = nook.named_counters();
    ["rx_queue_0_buffers", "rx_queue_1_buffers"].map(|name| counts.iter().find(|(it, _)| it == name).unwrap().1)
}

/// Checks that all that came since these were the counts has come through the queue that the hash says.
fn spread_by_hash(this: &mut Supervised, before: [u64; 2]) {
    let wanted = [0, 1].map(|queue| (0..FLOWS).filter(|flow| self::queue(*flow) == queue).count() as u64);
    assert!(wanted[0] > 8 && wanted[1] > 8, "{wanted:?}");
    let after = counted(this);
    let came = [0, 1].map(|queue| after[queue] - before[queue]);
    assert_eq!(came, wanted.map(|flows| flows * u64::from(PACKETS)));
}

#[test]
fn flows_are_spread_over_two_queues_with_a_vector_each_and_keep_their_order() {
    side_by_side([Isolation::Sfi, Isolation::SfiTxn, Isolation::Native], |isolation| {
        let vectors = Arc::new(AtomicU32::new(0));
        let seen = vectors.clone();
        let sink = move |access| {
            if let BusAccess::Irq(fired) = access {
                seen.fetch_or(fired, Ordering::Relaxed);
            }
        };
        let between = |device| Box::new(Tracing::new(device, sink)) as _;
        let rig = Rig::with_queues(2, &CARD, isolation.launcher(), between).comes_up(&CARD);
        let mut this = Supervised::new(rig, Policy::default());
        let before = counted(&mut this);
        in_order(&pass(&mut this));
        spread_by_hash(&mut this, before);
        assert_eq!(vectors.load(Ordering::Relaxed), 0b11);
        // Both rings are filled again and again.
        (0..4).for_each(|_| in_order(&pass(&mut this)));
        // What was looked for without an interrupt would be a fault at the fifth time.
        assert!(this.supervisor.recoveries().is_empty(), "{:?}", this.supervisor.recoveries());
        // What was given back is given again.
        let nook = this.supervisor.nook_mut();
        nook.stop().unwrap();
        nook.start().unwrap();
        this.until("it receives again", |this| {
            let _ = this.far.send(&frame(0, 60));
            !this.supervisor.nook().backend().received.is_empty()
        });
    });
}

#[test]
fn a_chip_with_one_queue_uses_one_whatever_is_wanted() {
    for device in [Device::Model(ModelConfig::default()), Device::Qemu("e1000")] {
        let mut this = up(2, &device, Isolation::SfiTxn.launcher(), Policy::default());
        let sent = (0..PACKETS).flat_map(|number| (0..FLOWS).map(move |flow| (flow, number)));
        assert!(pass(&mut this).into_iter().eq(sent), "one queue keeps the order of all: {device:?}");
        assert_eq!(counted(&mut this)[1], 0);
    }
}

/// Returns a driver with two queues that is ended on request.
fn crashing(policy: Policy) -> Supervised {
    let module = e1000_module().counting();
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), RollbackMethod::Log.rollback()).unwrap();
    up(2, &CARD, Box::new(launcher), policy)
}

#[test]
fn calls_of_both_queues_are_rolled_back_and_each_packet_comes_once_and_in_order() {
    let mut this = crashing(Policy::default());
    for round in 0..16 {
        let entry = if round % 4 == 3 { Entry::Irq } else { Entry::Poll };
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(entry, 1 + round % 7), round));
        in_order(&pass(&mut this));
    }
    assert!(this.supervisor.rollbacks().count() >= 12, "{} rollbacks", this.supervisor.rollbacks().count());
    assert_eq!(this.supervisor.restarts(), 0);
}

#[test]
fn a_driver_that_was_restarted_or_restored_has_both_queues_again() {
    let restarts =
        Policy { restarts: u32::MAX, backoff_first_ns: 0, rollback: false, snapshots: 0, ..Policy::default() };
    for policy in [restarts, Policy { snapshots: 3, ..restarts }] {
        let mut this = crashing(policy);
        let mac = this.supervisor.nook().interface().unwrap().mac;
        let mut number = 0;
        for round in 0..4 {
            assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 2 + round), round));
            let before = this.supervisor.recoveries().len();
            this.until("it ended and came back", |this| {
                (0..FLOWS).for_each(|flow| drop(this.far.send(&packet(mac, flow, number))));
                number += 1;
                this.supervisor.recoveries().len() > before
            });
            // Some may be lost, and none overtakes another of its flow.
            let came = received(&mut this);
            for flow in 0..FLOWS {
                assert!(came.iter().filter(|(it, _)| *it == flow).is_sorted(), "round {round}");
            }
        }
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, u64::MAX), 1));
        let last = packet(mac, FLOWS, 0);
        this.until("all came that was under way", |this| {
            let _ = this.far.send(&last);
            this.supervisor.nook().backend().received.contains(&last)
        });
        for _ in 0..200 {
            this.supervisor.turn(now_ns() + 1_000_000).unwrap();
        }
        received(&mut this);
        let before = counted(&mut this);
        in_order(&pass(&mut this));
        spread_by_hash(&mut this, before);
    }
}
