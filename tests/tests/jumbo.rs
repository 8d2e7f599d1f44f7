//! Frames that are longer than Ethernet's, in several buffers each way.

use e1000_model::{Behaviour, ModelConfig};
use nook_abi::Entry;
use nook_recovery::Policy;
use nook_runtime::{CrashWhen, FilterModule, Mmio, ModuleCache, RollbackMethod, Settings, WasmLauncher};
use nook_tests::{Device, Isolation, Rig, Supervised, driver_file, drives, e1000_module, frame, qemus};

const MTU_BYTES: u32 = 9000;
/// An Ethernet header, and the same with a VLAN tag.
const HEADER_BYTES: usize = 14;
const TAGGED_BYTES: usize = 18;
/// What the card writes into one buffer, and what the host's buffers have.
const PIECE_BYTES: usize = 1024;
const BUFFER_BYTES: usize = 1984;

fn settings(mtu_bytes: u32) -> Settings {
    Settings { mtu_bytes: Some(mtu_bytes), ..Settings::default() }
}

fn calm() -> Device {
    Device::Model(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() })
}

/// Returns a rig whose interface has this MTU and whose receiver receives.
fn up(device: &Device, isolation: Isolation, mtu_bytes: u32) -> Rig {
    let mut rig = Rig::new(device, isolation);
    rig.nook.set(settings(mtu_bytes)).expect("it holds for the start");
    rig.comes_up(device)
}

/// Returns numbered frames with these lengths.
fn frames(lens: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    (1..).zip(lens).map(|(number, len)| frame(number, len)).collect()
}

/// Returns lengths of frames on both sides of each boundary, up to those of this MTU.
fn lens(mtu_bytes: u32) -> Vec<usize> {
    let longest = mtu_bytes as usize + TAGGED_BYTES;
    let edges = [60, 1514, 1518, 1600 + HEADER_BYTES, PIECE_BYTES, BUFFER_BYTES, 2 * PIECE_BYTES, 2 * BUFFER_BYTES];
    let edges = edges.into_iter().chain([4096, 8 * PIECE_BYTES, longest - 4, longest]);
    let around = edges.flat_map(|edge| [edge - 1, edge, edge + 1]);
    around.filter(|len| (60..=longest).contains(len)).collect()
}

/// Has these frames pass both ways, and sees to it that each comes as it was.
fn exchanges(what: &str, rig: &mut Rig, frames: &[Vec<u8>]) {
    rig.nook.backend_mut().received.clear();
    rig.nook.backend_mut().to_send.extend(frames.iter().cloned());
    let (mut sent, mut arrived) = (0, Vec::new());
    rig.until(what, |rig| {
        // No more under way than the card can hold.
        while sent < frames.len() && sent < rig.nook.backend().received.len() + 3 {
            if !matches!(rig.far.send(&frames[sent]), Ok(true)) {
                break;
            }
            sent += 1;
        }
        arrived.extend(rig.arrived());
        arrived.len() >= frames.len() && rig.nook.backend().received.len() >= frames.len()
    });
    let lens = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).collect::<Vec<_>>();
    let received = &rig.nook.backend().received;
    assert!(arrived == frames, "{what}: sent {:?}, arrived {:?}", lens(frames), lens(&arrived));
    assert!(received == frames, "{what}: sent {:?}, received {:?}", lens(frames), lens(received));
}

#[test]
fn frames_of_every_length_pass_both_ways_at_every_level() {
    for &isolation in Isolation::all() {
        for device in [calm(), Device::Model(ModelConfig::default())] {
            let mut rig = up(&device, isolation, MTU_BYTES);
            let frames = frames(lens(MTU_BYTES));
            let what = format!("{isolation:?}, {device:?}");
            exchanges(&what, &mut rig, &frames);
            let bytes: usize = frames.iter().map(Vec::len).sum();
            let counters = *rig.nook.net_counters();
            assert_eq!((counters.rx_packets, counters.rx_bytes), (frames.len() as u64, bytes as u64), "{what}");
            assert_eq!((counters.rx_failed, counters.tx_failed, counters.tx_unfit), (0, 0, 0), "{what}");
        }
    }
}

#[test]
fn the_longest_frames_that_a_card_takes_pass() {
    for device in [calm(), Device::Model(ModelConfig::default())] {
        let mut rig = Rig::new(&device, Isolation::SfiTxn);
        rig.nook.start().unwrap();
        let most = rig.nook.interface().unwrap().max_mtu_bytes;
        rig.nook.set(settings(most)).unwrap();
        let mut rig = rig;
        rig.until("the link is up", |rig| rig.nook.backend().links.last() == Some(&true));
        exchanges(&format!("{device:?}"), &mut rig, &frames(lens(most)));
        // One more byte passes the card, which knows no MTU, and not the driver.
        rig.far.send(&frame(1, most as usize + TAGGED_BYTES + 1)).unwrap();
        rig.until_all_came();
        assert_eq!(rig.nook.net_counters().rx_failed, 1);
        rig.nook.backend_mut().to_send.push_back(frame(1, most as usize + TAGGED_BYTES + 1));
        rig.until("it is counted", |rig| rig.nook.net_counters().tx_unfit == 1);
        assert!(rig.nook.set(settings(most + 1)).is_err());
        exchanges("after it was refused", &mut rig, &frames(lens(most)));
    }
}

#[test]
fn qemus_cards_carry_them() {
    for name in qemus().filter(|_| drives((e1000_regs::VENDOR, e1000_regs::DEVICE_82540EM))) {
        let mut rig = up(&Device::Qemu(name), Isolation::SfiTxn, MTU_BYTES);
        rig.arrived();
        exchanges(name, &mut rig, &frames(lens(MTU_BYTES)));
    }
}

#[test]
fn what_is_longer_than_the_mtu_asks_for_is_dropped_by_the_card_and_counted() {
    let mut rig = up(&calm(), Isolation::SfiTxn, 1500);
    for len in [1514, 1515, 1518, 1519, 1600, 9000] {
        rig.far.send(&frame(len as u32, len)).unwrap();
    }
    rig.until_all_came();
    let lens: Vec<_> = rig.nook.backend().received.iter().map(Vec::len).collect();
    assert_eq!(lens, [1514, 1515, 1518, 60]);
    assert_eq!(rig.nook.stats().unwrap().rx_length_errors, 3);
    assert_eq!(rig.nook.net_counters().rx_failed, 0);
}

#[test]
fn an_mtu_changes_while_frames_pass_and_each_to_be_sent_is_counted() {
    let mut rig = up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn, 1500);
    let mut arrived = 0;
    for (round, mtu_bytes) in [9000, 1500, 1501, 9000, 1400, 1600, 1500].into_iter().cycle().take(40).enumerate() {
        for number in 0..50 {
            rig.nook.backend_mut().to_send.push_back(frame(number, 60 + 29 * number as usize));
            let _ = rig.far.send(&frame(number, 60 + 29 * number as usize));
        }
        for _ in 0..round % 5 {
            rig.turn().unwrap();
        }
        rig.nook.set(settings(mtu_bytes)).unwrap();
        arrived += rig.arrived().len() as u64;
    }
    rig.until("all were sent", |rig| rig.nook.backend().to_send.is_empty());
    rig.settle();
    arrived += rig.arrived().len() as u64;
    let counters = *rig.nook.net_counters();
    // What the MTU in effect was too small for was not taken.
    let taken = counters.tx_packets;
    assert_eq!((taken + counters.tx_unfit, taken > 1500), (2000, true), "{counters:?}");
    assert_eq!((counters.tx_done, counters.tx_done + counters.tx_failed), (arrived, taken), "{counters:?}");
    assert!(rig.nook.backend().received.iter().all(|received| {
        let number = u32::from_be_bytes(received[14..18].try_into().unwrap());
        *received == frame(number, received.len())
    }));
    rig.nook.stats().expect("the card's counters and the driver's agree");
    rig.nook.set(settings(9000)).unwrap();
    exchanges("afterwards", &mut rig, &frames(lens(9000)));
}

/// Returns a driver under supervision that is ended on request, with long frames.
fn crashing(policy: Policy) -> Supervised {
    let module = e1000_module().counting();
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), RollbackMethod::Log.rollback()).unwrap();
    let device = Device::Model(ModelConfig::default());
    let mut rig = Rig::with(&device, Box::new(launcher));
    rig.nook.set(settings(MTU_BYTES)).unwrap();
    Supervised::new(rig.comes_up(&device), policy)
}

#[test]
fn a_call_that_ends_in_the_middle_of_a_frame_is_rolled_back_and_each_frame_comes_once() {
    let mut this = crashing(Policy::default());
    let frames = frames((0..24).map(|at| 3000 + 250 * at));
    for round in 0..40 {
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 1 + round % 5), round));
        frames.iter().for_each(|frame| assert!(this.far.send(frame).unwrap()));
        this.supervisor.nook_mut().backend_mut().to_send.extend(frames.iter().cloned());
        let mut arrived = Vec::new();
        this.until("all came", |this| {
            arrived.extend(this.arrived());
            arrived.len() >= frames.len() && this.supervisor.nook().backend().received.len() >= frames.len()
        });
        let received = std::mem::take(&mut this.supervisor.nook_mut().backend_mut().received);
        assert!(arrived == frames && received == frames, "round {round}");
    }
    assert!(this.supervisor.rollbacks().count() > 10, "{} rollbacks", this.supervisor.rollbacks().count());
    assert_eq!(this.supervisor.restarts(), 0);
}

#[test]
fn a_restart_in_the_middle_of_frames_mixes_no_parts_and_loses_none_to_be_sent_uncounted() {
    let policy = Policy { restarts: u32::MAX, backoff_first_ns: 0, rollback: false, snapshots: 0, ..Policy::default() };
    let mut this = crashing(policy);
    let frames = frames((0..24).map(|at| 3000 + 250 * at));
    let mut arrived = 0;
    for round in 0..12 {
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 1 + round % 5), round));
        frames.iter().for_each(|frame| assert!(this.far.send(frame).unwrap()));
        this.supervisor.nook_mut().backend_mut().to_send.extend(frames.iter().cloned());
        let restarts = this.supervisor.restarts();
        this.until("it was restarted", |this| {
            let came = this.arrived();
            assert!(came.iter().all(|frame| frames.contains(frame)));
            arrived += came.len() as u64;
            // Without anything to do, it would be polled once a second.
            let _ = this.far.send(&frames[0]);
            this.supervisor.restarts() > restarts
        });
        this.until("all were sent", |this| {
            arrived += this.arrived().len() as u64;
            let counters = this.supervisor.nook().net_counters();
            let gone = counters.tx_done + counters.tx_failed + counters.tx_given_up;
            this.supervisor.nook().backend().to_send.is_empty() && gone == counters.tx_packets
        });
        let received = std::mem::take(&mut this.supervisor.nook_mut().backend_mut().received);
        assert!(received.iter().all(|frame| frames.contains(frame)), "round {round}");
    }
    arrived += this.arrived().len() as u64;
    let counters = *this.supervisor.nook().net_counters();
    assert_eq!(counters.tx_packets, 12 * 24);
    assert!(arrived >= counters.tx_done, "{arrived} arrived, {counters:?}");
    // The setting holds for the instance that runs now.
    assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, u64::MAX), 1));
    frames.iter().for_each(|frame| assert!(this.far.send(frame).unwrap()));
    this.until("all come", |this| this.supervisor.nook().backend().received.len() >= frames.len());
    assert!(this.supervisor.nook().backend().received == frames);
}

#[test]
fn a_filter_drops_a_long_frame_as_a_whole_and_it_counts_once() {
    let filter = FilterModule::load(&driver_file("filter")).unwrap();
    let rules = "ethertype:0x88b6".to_string();
    let launcher =
        WasmLauncher::filtered(e1000_module(), &filter, rules, &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut rig = Rig::with(&Device::Model(ModelConfig::default()), Box::new(launcher));
    rig.nook.set(settings(MTU_BYTES)).unwrap();
    let mut rig = rig.comes_up(&Device::Model(ModelConfig::default()));
    let all = frames((0..20).map(|at| 60 + 450 * at)).into_iter().enumerate().map(|(at, mut frame)| {
        frame[13] = if at % 2 == 0 { 0xb5 } else { 0xb6 };
        frame
    });
    let all: Vec<_> = all.collect();
    let passing: Vec<_> = all.iter().step_by(2).cloned().collect();
    rig.nook.backend_mut().to_send.extend(all.iter().cloned());
    all.iter().for_each(|frame| assert!(rig.far.send(frame).unwrap()));
    let mut arrived = Vec::new();
    rig.until("what passes came", |rig| {
        arrived.extend(rig.arrived());
        arrived.len() >= passing.len() && rig.nook.backend().received.len() >= passing.len()
    });
    rig.settle();
    assert!(arrived == passing && rig.nook.backend().received == passing);
    let counters = *rig.nook.net_counters();
    assert_eq!((counters.rx_dropped, counters.tx_dropped), (10, 10));
}
