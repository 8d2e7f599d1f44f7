//! Threads: instances move between them, threads end, and the kernel takes the processor from one at any time.

use std::thread;

use hostile_domain::wrong;

use crate::rig::{alone, ends, is_long, launcher, mappings, opened, polled, trap, works};

#[test]
fn an_instance_that_was_launched_on_one_thread_is_called_on_another() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let good = opened(&launcher, wrong::NOTHING, 0);
    let bad = opened(&launcher, wrong::ILLEGAL, 0);
    let (good, bad) = thread::spawn(|| (polled(good), polled(bad))).join().unwrap();
    assert_eq!((good, bad), (Ok(()), trap(nook_abi::TrapKind::Unreachable)));
}

/// The kernel writes to a thread's area for restartable sequences each time that it takes the processor from it: calls
/// on two threads, beside others that work.
#[test]
fn threads_that_are_preempted_in_calls_go_on() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let calls = if is_long() { 1_000_000 } else { 100_000 };
    let mut drivers: Vec<_> = (0..2).map(|_| opened(&launcher, wrong::NOTHING, 0)).collect();
    thread::scope(|scope| {
        for driver in &mut drivers {
            scope.spawn(move || {
                for call in 0..calls {
                    assert!(driver.poll(0, 64, 0).is_ok(), "{call}");
                }
            });
        }
    });
    drivers.into_iter().for_each(|driver| driver.end().quiet.unwrap());
}

#[test]
fn threads_that_have_called_drivers_leave_nothing_when_they_end() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    works(&launcher);
    let one = || thread::scope(|scope| scope.spawn(|| ends(&launcher, wrong::STORES, 0)).join().unwrap().unwrap_err());
    for _ in 0..20 {
        one();
    }
    let before = mappings().len();
    for _ in 0..if is_long() { 5_000 } else { 200 } {
        one();
    }
    let after = mappings().len();
    // The C library keeps a few stacks of threads for later ones.
    assert!(after <= before + 4, "{before} mappings became {after}");
}
