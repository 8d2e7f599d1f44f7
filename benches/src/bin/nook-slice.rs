//! `nook-slice`: one short sample of the calls that builds are compared by, as a line of JSON: what is measured, and
//! its nanoseconds.
//!
//! `nook-bench --against` runs this program of two builds in turn. It is compiled in the other build's tree from this
//! very file, so it uses nothing but what was there in the first build that it is compared with.
#![deny(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use nook_benches::levels::{Level, NATIVE, Program, SFI, SFI_TXN};
use nook_benches::rig::{driver_of, nook, round};
use nook_benches::sample::{Effort, Subject, interleave};
use nook_benches::{stats, ticks};
use touch_driver::job;

const LEVELS: [Level; 3] = [NATIVE, SFI, SFI_TXN];
/// Packets each way in a call of `poll`.
const BATCHES: [u32; 2] = [32, 255];
/// Packets each way that an interrupt announces.
const PER_INTERRUPT: u32 = 8;
/// Instances of each thing: where one lies in memory moves its times, and each process has others.
const INSTANCES: usize = 3;
const EFFORT: Effort = Effort { rounds: 60, sample_ns: 100_000 };

/// Returns a subject whose runs are turns of a nook, and in them calls of its driver.
fn turns<'a>(level: &Level, batch: u32, interrupts: bool) -> Subject<'a> {
    let launcher = level.launcher(Program::E1000);
    Subject::new((0..INSTANCES).map(|_| {
        let (mut nook, spent) = nook(&launcher, batch, interrupts);
        move |times| {
            let before = spent.load(Ordering::Relaxed);
            (0..times).for_each(|_| round(&mut nook));
            spent.load(Ordering::Relaxed) - before
        }
    }))
}

/// Returns a subject whose runs are calls that do nothing.
fn nothing<'a>(level: &Level) -> Subject<'a> {
    let launcher = level.launcher(Program::Touch);
    Subject::new((0..INSTANCES).map(|_| {
        let driver = RefCell::new(driver_of(&launcher, Program::Touch));
        move |times| {
            let mut driver = driver.borrow_mut();
            for _ in 0..times {
                driver.poll(std::hint::black_box(job::NOTHING), 0, 0).expect("it does not fault");
                driver.commit().expect("the device obeys");
            }
            0
        }
    }))
}

fn main() {
    let (mut names, mut subjects) = (Vec::new(), Vec::new());
    for level in LEVELS {
        for batch in BATCHES {
            names.push((Some(format!("poll_{batch}_{}", level.key())), format!("turn_{batch}_{}", level.key())));
            subjects.push(turns(&level, batch, false));
        }
        names.push((Some(format!("interrupt_{}", level.key())), format!("interrupt_turn_{}", level.key())));
        subjects.push(turns(&level, PER_INTERRUPT, true));
        names.push((None, format!("null_call_{}", level.key())));
        subjects.push(nothing(&level));
    }
    let samples = interleave(&mut subjects, EFFORT);
    let ns = |samples: &[f64]| stats::median(&mut samples.to_vec()) / ticks::per_ns();
    let mut found = BTreeMap::new();
    for (at, (inside, whole)) in names.into_iter().enumerate() {
        found.insert(whole, ns(&samples.whole[at]));
        if let Some(inside) = inside {
            found.insert(inside, ns(&samples.inside[at]));
        }
    }
    println!("{}", serde_json::to_string(&found).expect("names and numbers are JSON"));
}
