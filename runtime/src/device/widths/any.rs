//! Maps at random, with drivers at random, by a fixed seed: none of it makes the host panic.

use std::cell::Cell;

use nook_bus::RegisterAddr;
use nook_regs::{Access, Bar, ReadEffect, RegisterInfo, RegisterMap, Restore, Width, WriteEffect};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::{Rig, WIDTHS, steps};

/// Draws half of all places.
fn at_even(offset: u32) -> bool {
    offset % 16 < 8
}

/// Draws registers as a file could have them: each may be nonsense, and most are not.
fn any_register() -> impl Strategy<Value = RegisterInfo> {
    let mostly = |sense: u32| prop_oneof![30 => Just(sense), 1 => Just(u32::MAX), 1 => Just(0x8000_0000), 1 => Just(3)];
    let bits = || prop_oneof![10 => prop::sample::select(vec![0x80u64, 0x81, 1, 0x7f]), 1 => Just(0), 1 => Just(1 << 31), 1 => Just(1 << 63)];
    let name =
        prop_oneof![1 => Just(""), 40 => prop::sample::select(vec!["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"])];
    let access =
        prop::sample::select(vec![Access::Rw, Access::Rw, Access::Rw, Access::Ro, Access::Wo, Access::Forbidden]);
    let read = prop_oneof![
        6 => Just(ReadEffect::None),
        1 => Just(ReadEffect::ClearsOr),
        1 => Just(ReadEffect::ClearsAdd),
        1 => Just(ReadEffect::ClearsPair),
        1 => Just(ReadEffect::Pops),
        1 => Just(ReadEffect::Other),
    ];
    let write = prop_oneof![
        3 => Just(WriteEffect::Plain),
        1 => Just(WriteEffect::OneClears),
        1 => Just(WriteEffect::DmaBase),
        1 => Just(WriteEffect::DmaBaseOrZero),
        1 => Just(WriteEffect::DmaBaseHigh),
        1 => Just(WriteEffect::Doorbell),
        1 => Just(WriteEffect::Command),
        4 => bits().prop_map(WriteEffect::Reset),
    ];
    let restore = prop_oneof![
        3 => Just(Restore::Nothing),
        1 => Just(Restore::Written),
        1 => Just(Restore::Held),
        1 => Just(Restore::Mask),
        1 => Just(Restore::Switch),
        1 => bits().prop_map(Restore::Quiet),
        3 => bits().prop_map(Restore::ResetBy),
    ];
    let guard = prop_oneof![4 => Just(None), 1 => bits().prop_map(Some)];
    let width = prop::sample::select(vec![Width::B1, Width::B2, Width::B4, Width::B8]);
    let place = (width, 0..24u32, 1..4u32).prop_flat_map(move |(width, at, apart)| {
        let count = prop_oneof![20 => Just(1), 8 => 2..4u32, 1 => Just(0), 1 => Just(u32::MAX)];
        (Just(width), mostly(at * width.bytes()), count, mostly(apart * width.bytes()))
    });
    let bar = prop_oneof![20 => 0..2u8, 1 => Just(2)];
    (name, bar, place, access, read, write, restore, guard, any::<bool>()).prop_map(
        |(name, bar, (width, offset, count, stride), access, read, write, restore, guard, posts_only)| {
            let mut info = RegisterInfo::declared(name, offset, width, count, stride, access, "").in_bar(bar);
            (info.read, info.write, info.restore) = (read, write, restore);
            info.posts_only = posts_only && access.reads();
            // Half of those that reset all are sensible, and so is half of what only some registers can have.
            if let (Restore::ResetBy(bits), true) = (restore, at_even(offset)) {
                info.write = WriteEffect::Reset(bits);
            }
            if !access.writes() && at_even(offset) {
                (info.write, info.restore) = (WriteEffect::Plain, Restore::Nothing);
            }
            if !access.reads() && at_even(offset) {
                info.read = ReadEffect::None;
            }
            match guard {
                Some(busy) => info.guard(steps(busy)),
                None => info,
            }
        },
    )
}

/// What is done with a device: a kind, a place, a width and a value.
type Act = (u8, u32, u8, u64);

/// Returns whether it was a snapshot that was restored.
fn act(rig: &mut Rig, (kind, choice, width, value): Act, places: &[RegisterAddr]) -> bool {
    let width = WIDTHS[usize::from(width) % WIDTHS.len()];
    let anywhere = RegisterAddr { bar: choice as u8, offset: choice / 3, width };
    let known = places.get(choice as usize % places.len().max(1)).copied();
    let at = if value % 5 == 0 { anywhere } else { known.unwrap_or(anywhere) };
    rig.script.answers(at.offset, value);
    let open = rig.device.device.is_open();
    match kind {
        0..=3 => drop(rig.write(at, value & at.width.all_ones())),
        4..=6 => drop(rig.read(at)),
        7 if open => drop(rig.device.device.commit()),
        8 if open => {
            rig.device.policy.forget();
            rig.device.device.abort();
        }
        7 | 8 => rig.device.device.begin(),
        9 if !open => {
            if let Ok(Some(kept)) = rig.device.capture() {
                return rig.device.silence(&kept).and_then(|()| rig.device.restore(&kept)).is_ok();
            }
        }
        10 => {
            rig.device.policy.forget();
            rig.device.device.forget();
            drop(rig.device.quiet());
            drop(rig.device.map_window());
            drop(rig.device.let_go());
        }
        _ => drop(rig.write(at, at.width.all_ones())),
    }
    false
}

#[test]
fn no_map_and_no_driver_makes_the_host_panic() {
    let acts = prop::collection::vec((0..12u8, any::<u32>(), any::<u8>(), any::<u64>()), 0..60);
    let lengths = (0..0x400u32, any::<u32>());
    let maps = (prop::collection::vec(any_register(), 0..24), acts, lengths);
    let config =
        ProptestConfig { cases: 600, failure_persistence: None, rng_seed: RngSeed::Fixed(12), ..Default::default() };
    let (taken, refused, restored) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let one_more = |count: &Cell<u32>| count.set(count.get() + 1);
    let ran = TestRunner::new(config).run(&maps, |(registers, acts, lengths)| {
        let bars = vec![Bar::memory(0, lengths.0), Bar::memory(1, lengths.1)].leak();
        // As many of them as make sense together: alone, most lists of registers would be refused for one of them.
        let mut sensible: &'static [RegisterInfo] = &[];
        for &info in &registers {
            let more = [sensible, &[info]].concat().leak();
            match RegisterMap::new("random", bars, more) {
                Ok(_) => {
                    one_more(&taken);
                    sensible = more;
                }
                Err(error) => {
                    one_more(&refused);
                    prop_assert!(error.to_string().starts_with("map `random`: "));
                }
            }
        }
        let map = RegisterMap::new("random", bars, sensible).expect("it was one before");
        let places: Vec<RegisterAddr> = RegisterAddr::all_of(&map).map(|(at, _)| at).collect();
        let mut rig = Rig::new(map, Width::B4);
        for doing in acts {
            if act(&mut rig, doing, &places) {
                one_more(&restored);
            }
        }
        Ok(())
    });
    ran.expect("no panic");
    // What was tried is worth something: registers of all kinds, and devices that were restored.
    let counts = (taken.get(), refused.get(), restored.get());
    assert!(counts.0 >= 1000 && counts.1 >= 1000 && counts.2 >= 1, "{counts:?}");
}
