//! Whatever is written to it, the device does not panic and stays in its windows; and what it does can be repeated.

use e1000_model::{Behaviour, ModelConfig};
use e1000_regs::{BAR0_LEN_BYTES, MAP};
use nook_bus::{DmaWindow, PciDevice, WINDOW_ALIGN, Width};
use proptest::prelude::*;
use vm_memory::Bytes;

use crate::rig::{IOVA, MAC, RX_BUFFERS, Rig, UNUSED, frame};

#[derive(Clone, Debug)]
enum Step {
    Write(u32, u32),
    Read(u32),
    /// Garbage into the window, where rings and buffers are.
    Scribble(u32, [u32; 4]),
    Arrive(usize),
    Service(u64),
    Unmask,
    BusMaster(bool),
    Plug(bool),
}

fn offset() -> impl Strategy<Value = u32> {
    let named: Vec<u32> =
        MAP.registers().iter().flat_map(|info| (0..info.count.min(4)).map(|i| info.offset + i * info.stride)).collect();
    prop_oneof![9 => prop::sample::select(named), 1 => (0..BAR0_LEN_BYTES / 4).prop_map(|word| word * 4)]
}

fn value() -> impl Strategy<Value = u32> {
    // Addresses that are almost right, few bits, and anything.
    prop_oneof![
        any::<u32>(),
        0..64u32,
        (0..32u32).prop_map(|bit| 1 << bit),
        (0..0x40_0000u32).prop_map(|at| (IOVA as u32).wrapping_add(at)),
        Just((IOVA >> 32) as u32),
        (0..64u32).prop_map(|n| n * 128),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (offset(), value()).prop_map(|(at, value)| Step::Write(at, value)),
        2 => offset().prop_map(Step::Read),
        3 => (0..0x2000u32, [value(), value(), value(), value()]).prop_map(|(at, words)| Step::Scribble(at * 16, words)),
        3 => (0..17_000usize).prop_map(Step::Arrive),
        6 => (0..100_000u64).prop_map(Step::Service),
        1 => Just(Step::Unmask),
        1 => any::<bool>().prop_map(Step::BusMaster),
        1 => any::<bool>().prop_map(Step::Plug),
    ]
}

/// Returns everything that can be seen from outside.
fn run(rig: &mut Rig, steps: &[Step]) -> Vec<u64> {
    let mut seen = Vec::new();
    for step in steps {
        match *step {
            Step::Write(at, value) => rig.model.bar_write(0, at, Width::B4, value.into()).unwrap(),
            Step::Read(at) => seen.push(rig.model.bar_read(0, at, Width::B4).unwrap()),
            Step::Scribble(at, words) => rig.poke(at, words),
            Step::Arrive(len) => rig.cable.push(frame(len, len as u32)),
            Step::Service(ns) => {
                rig.now_ns += ns;
                let service = rig.model.service(rig.now_ns).unwrap();
                seen.extend([service.irqs.into(), service.due_ns.unwrap_or(0)]);
            }
            Step::Unmask => rig.model.irq_unmask(0).unwrap(),
            Step::BusMaster(on) => rig.model.set_bus_master(on).unwrap(),
            Step::Plug(plugged) => rig.cable.plug(plugged),
        }
    }
    seen.push(rig.model.dma_faults());
    seen.extend(rig.cable.sent().iter().map(|frame| frame.len() as u64));
    seen
}

fn rig(seed: u64) -> Rig {
    let behaviour = Behaviour { receive_errors_ppm: 100_000, ..Behaviour::adversarial() };
    Rig::with(ModelConfig { mac: MAC, seed, behaviour, ..Default::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_accesses_does_the_same_again_and_stays_in_the_window(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let (mut one, mut two) = (rig(seed), rig(seed));
        // Next to the mapped window lies one that is not mapped: memory of somebody else.
        let neighbour = DmaWindow::new(1).unwrap();
        let pattern = vec![0xa5; WINDOW_ALIGN as usize];
        neighbour.slice().write_slice(&pattern, 0).unwrap();
        one.model.dma_map(&neighbour, IOVA + WINDOW_ALIGN).unwrap();
        one.model.dma_unmap(IOVA + WINDOW_ALIGN).unwrap();
        prop_assert_eq!(run(&mut one, &steps), run(&mut two, &steps));
        let memory = |rig: &Rig| rig.bytes(0, WINDOW_ALIGN as usize);
        prop_assert!(memory(&one) == memory(&two));
        let mut after = vec![0; WINDOW_ALIGN as usize];
        neighbour.slice().read_slice(&mut after, 0).unwrap();
        prop_assert!(after == pattern);
    }
}

#[test]
fn another_seed_does_something_else() {
    let steps: Vec<Step> = (0..200).flat_map(|_| [Step::Arrive(100), Step::Service(7_000), Step::Read(0xc0)]).collect();
    let runs: Vec<Vec<u64>> = (0..3).map(|seed| run(&mut rig(seed), &steps)).collect();
    assert_ne!(runs[0], runs[1]);
    assert_ne!(runs[1], runs[2]);
}

#[test]
fn only_the_buffers_that_were_given_are_written() {
    for seed in 0..10 {
        let mut rig = Rig::adversarial(seed);
        let len = WINDOW_ALIGN as usize - UNUSED as usize;
        rig.window.slice().write_slice(&vec![0x5a; len], UNUSED as usize).unwrap();
        rig.window.slice().write_slice(&vec![0x5a; 0x1000], RX_BUFFERS as usize - 0x1000).unwrap();
        for number in 0..200 {
            rig.cable.push(frame(60 + number as usize * 7, number));
            rig.send(&frame(60, number));
            rig.settle();
            rig.harvest(true);
            rig.reap();
        }
        assert!(rig.bytes(UNUSED, len).iter().all(|byte| *byte == 0x5a));
        assert!(rig.bytes(RX_BUFFERS - 0x1000, 0x1000).iter().all(|byte| *byte == 0x5a));
    }
}
