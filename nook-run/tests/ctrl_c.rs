//! Ctrl-C at any time: the run ends in order, and nothing is left behind.

mod support;

use std::time::Duration;

use nook_tests::namespaces::{Namespaces, inside};
use support::{Ended, Place, e1000, eventually, has_interface};

/// When the signal comes: this many milliseconds after the start, or as soon as a text is in the log.
#[derive(Clone, Copy, Debug)]
enum Moment {
    After(u64),
    Said(&'static str),
}

/// From the first instructions to the middle of the exercise: wherever that is on the machine at hand.
const MOMENTS: &[Moment] = &[
    Moment::After(0),
    Moment::After(3),
    Moment::After(10),
    Moment::After(30),
    Moment::After(100),
    Moment::After(200),
    Moment::After(400),
    Moment::After(700),
    Moment::After(1100),
    Moment::After(1700),
    Moment::Said("drives"),
    Moment::Said("link up"),
];

/// Starts it with these arguments besides, sends SIGINT at the moment, and waits for the end.
fn interrupted(place: &Place, args: &[&str], moment: Moment) -> Ended {
    let driver = e1000();
    let args = [driver.to_str().unwrap()].into_iter().chain(args.iter().copied());
    let mut run = place.nook_run(args).start();
    match moment {
        Moment::After(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        Moment::Said(text) => assert!(run.says(text), "{}", run.stderr()),
    }
    run.signal(libc::SIGINT);
    run.end()
}

/// Killed by the signal before there was anything to put in order, or a clean end with this status.
#[track_caller]
fn assert_clean(ended: &Ended, status: i32, moment: Moment) {
    assert!([128 + libc::SIGINT, status].contains(&ended.code()), "{moment:?}: {}: {}", ended.code(), ended.stderr);
    if let Moment::Said(_) = moment {
        assert_eq!(ended.code(), status, "{moment:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("ended: SIGINT"), "{moment:?}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{moment:?}: {}", ended.stderr);
}

#[test]
fn at_any_moment_a_run_ends_and_leaves_nothing() {
    for &moment in MOMENTS {
        let place = Place::new();
        let ended = interrupted(&place, &["--no-cache", "--promiscuous"], moment);
        assert_clean(&ended, 0, moment);
        assert!(place.names().is_empty(), "{moment:?}: {:?}", place.names());
    }
}

#[test]
fn an_exercise_that_was_cut_short_has_not_passed() {
    for &moment in MOMENTS {
        let place = Place::new();
        // Longer than any moment.
        let ended = interrupted(&place, &["--exercise", "ping,tcp,rr", "--duration", "5m"], moment);
        assert_clean(&ended, 3, moment);
        assert!(place.names().is_empty(), "{moment:?}: {:?}", place.names());
    }
}

#[test]
fn a_module_that_was_being_compiled_is_kept_whole_or_not_at_all() {
    for &moment in MOMENTS {
        let place = Place::new();
        let driver = e1000();
        let mut run = place.nook_run([driver.to_str().unwrap()]).env("XDG_CACHE_HOME", place.at("cache")).start();
        match moment {
            Moment::After(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
            Moment::Said(text) => assert!(run.says(text), "{}", run.stderr()),
        }
        run.signal(libc::SIGINT);
        assert_clean(&run.end(), 0, moment);
        let names = place.names();
        assert!(names.len() < 2 && names.iter().all(|name| name.ends_with(".cwasm")), "{moment:?}: {names:?}");
    }
}

#[test]
fn qemu_ends_with_the_run() {
    // That no process is left is checked at the end of every run.
    for &moment in MOMENTS {
        assert_clean(&interrupted(&Place::new(), &["--qemu", "e1000"], moment), 0, moment);
    }
}

#[test]
fn qemu_ends_with_a_run_that_is_killed() {
    let mut run = Place::new().nook_run([e1000().to_str().unwrap(), "--qemu", "e1000"]).start();
    assert!(run.says("link up"), "{}", run.stderr());
    assert_eq!(run.helpers().len(), 1);
    run.signal(libc::SIGKILL);
    assert_eq!(run.end().code(), 128 + libc::SIGKILL);
}

#[test]
#[ignore = "needs root"]
fn the_tap_interfaces_go_with_the_run() {
    let taps = ["nook0", "nook1"];
    // The machine's own namespace is everybody's: two runs of this test would take each other's interfaces.
    let names = Namespaces::new().unwrap();
    let interrupt_each_run = || {
        // Nobody sets the far end up, so there is no link.
        for &moment in MOMENTS.iter().filter(|moment| !matches!(moment, Moment::Said("link up"))) {
            let ended = interrupted(&Place::new(), &["--tap", taps[0], "--wire", "tap:nook1"], moment);
            assert_clean(&ended, 0, moment);
            eventually("the interfaces are gone", || {
                let left: Vec<_> = taps.into_iter().filter(|name| has_interface(name)).collect();
                left.is_empty().then_some(()).ok_or_else(|| format!("{left:?}"))
            });
        }
        Ok(())
    };
    inside(&names.near, interrupt_each_run).unwrap();
}

#[test]
fn the_other_ways_to_ask_for_an_end_are_clean_too() {
    for (signal, name) in [(libc::SIGTERM, "SIGTERM"), (libc::SIGHUP, "SIGHUP")] {
        let mut run = Place::new().nook_run([e1000().to_str().unwrap()]).start();
        assert!(run.says("link up"), "{}", run.stderr());
        run.signal(signal);
        let ended = run.end().with(0);
        assert!(ended.stderr.contains(&format!("ended: {name}")), "{}", ended.stderr);
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_beginning_stays_ignored() {
    for signal in [libc::SIGHUP, libc::SIGINT] {
        let mut run = Place::new().nook_run([e1000().to_str().unwrap()]).ignoring(signal).start();
        assert!(run.says("link up"), "{}", run.stderr());
        // Had it been taken, the next one would be the second.
        run.signal(signal);
        run.signal(libc::SIGTERM);
        let ended = run.end().with(0);
        assert!(ended.stderr.contains("ended: SIGTERM"), "{}", ended.stderr);
    }
}

#[test]
fn a_second_signal_ends_a_run_that_hangs() {
    let place = Place::new();
    // Nobody reads the capture, so that opening it waits for ever.
    let pipe = place.at("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut run = place.nook_run([e1000().to_str().unwrap(), "--pcap", "pipe", "-v"]).start();
    assert!(run.says("--pcap: opening"), "{}", run.stderr());
    run.signal(libc::SIGINT);
    assert!(run.says("a second signal ends it at once"), "{}", run.stderr());
    run.signal(libc::SIGINT);
    assert_eq!(run.end().code(), 128 + libc::SIGINT);
}
