//! What is left to a device is done by it, at every isolation level: the frames on the cable are right, each at most as
//! long as one may be.

use e1000_model::{Behaviour, ModelConfig};
use nook_abi::Entry;
use nook_abi::net::offload;
use nook_recovery::Policy;
use nook_runtime::{CrashWhen, ModuleCache, RollbackMethod, WasmLauncher};
use nook_seed::Rng;
use nook_tests::{Device, Isolation, Packet, Rig, Supervised, e1000_module, frame, qemus};

/// An Ethernet frame with a VLAN tag, for the MTU of 1500.
const LONGEST_BYTES: usize = 1518;

fn calm() -> Device {
    Device::Model(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() })
}

fn packets(seed: u64, count: usize) -> Vec<Packet> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| Packet::any(&mut rng)).collect()
}

/// Returns how many frames come of these packets.
fn count(packets: &[Packet]) -> usize {
    packets.iter().map(Packet::frames).sum()
}

fn judge(what: &str, packets: &[Packet], frames: &[Vec<u8>]) {
    assert_eq!(frames.len(), count(packets), "{what}");
    let mut rest = frames;
    for packet in packets {
        let (these, others) = rest.split_at(packet.frames());
        rest = others;
        packet.judge(these).unwrap_or_else(|wrong| panic!("{what}: {packet:?}: {wrong}"));
        assert!(these.iter().all(|frame| frame.len() <= LONGEST_BYTES), "{what}: {packet:?}: a frame is too long");
    }
}

/// Sends packets, and looks at what comes out at the cable's far end.
fn sends(what: &str, packets: &[Packet], rig: &mut Rig) {
    rig.nook.backend_mut().to_leave.extend(packets.iter().map(Packet::left));
    let mut frames = Vec::new();
    rig.until(what, |rig| {
        frames.extend(rig.arrived());
        frames.len() >= count(packets)
    });
    judge(what, packets, &frames);
}

#[test]
fn packets_of_any_kind_leave_the_cable_as_right_frames_at_every_level() {
    for &isolation in Isolation::all() {
        for (device, seed) in [(calm(), 1), (Device::Model(ModelConfig::default()), 2)] {
            let mut rig = Rig::up(&device, isolation);
            let packets = packets(seed, 60);
            sends(&format!("{isolation:?}, {device:?}"), &packets, &mut rig);
            let cut = packets.iter().filter(|packet| packet.segment > 0).count() as u64;
            let counters = *rig.nook.net_counters();
            assert_eq!((counters.tx_checksums, counters.tx_segmented), (60, cut), "{isolation:?}");
            rig.until("all are done", |rig| rig.nook.net_counters().tx_done == 60);
        }
    }
}

#[test]
fn frames_with_nothing_to_be_done_keep_their_place_among_the_others() {
    let mut rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    for round in 0..20 {
        sends("packets", &packets(round, 3), &mut rig);
        let plain = frame(round as u32, 60 + round as usize);
        rig.nook.backend_mut().to_send.push_back(plain.clone());
        rig.until("it came", |rig| rig.arrived() == [plain.clone()]);
    }
}

#[test]
fn a_call_that_is_rolled_back_sends_each_segment_once() {
    let module = e1000_module().counting();
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), RollbackMethod::Log.rollback()).unwrap();
    let rig = Rig::up_with(&Device::Model(ModelConfig::default()), Box::new(launcher));
    let mut this = Supervised::new(rig, Policy::default());
    for round in 0..30 {
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 1 + round % 3), round));
        let packets = packets(100 + round, 8);
        this.supervisor.nook_mut().backend_mut().to_leave.extend(packets.iter().map(Packet::left));
        let mut frames = Vec::new();
        this.until("they came", |this| {
            frames.extend(this.arrived());
            frames.len() >= count(&packets)
        });
        judge(&format!("round {round}"), &packets, &frames);
    }
    assert!(this.supervisor.rollbacks().count() > 5, "{} rollbacks", this.supervisor.rollbacks().count());
    assert_eq!(this.supervisor.restarts(), 0);
}

#[test]
fn qemus_cards_cut_and_sum_what_they_say_that_they_can() {
    for name in qemus() {
        let mut rig = Rig::up(&Device::Qemu(name), Isolation::SfiTxn);
        rig.arrived();
        let can = rig.nook.interface().unwrap().offloads;
        assert_ne!(can & offload::TX_CHECKSUM, 0, "{name}");
        assert_eq!(can & offload::SEGMENT_V6, 0, "{name}: its segments of IPv6 are wrong");
        // A payload that is a multiple of the segments' is left out: QEMU sends one that is empty besides.
        let packets: Vec<Packet> = packets(7, 200)
            .into_iter()
            .filter(|packet| packet.segment == 0 || !packet.payload.is_multiple_of(packet.segment))
            .filter(|packet| packet.segment == 0 || can & offload::SEGMENT_V4 != 0 && !packet.ipv6)
            .take(40)
            .collect();
        sends(name, &packets, &mut rig);
    }
}
