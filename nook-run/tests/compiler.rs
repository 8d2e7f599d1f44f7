//! The compiler in its own process: its limits, and that it goes with the run.

mod support;

use std::fs;

use nook_process::compiler::NAME;
use support::{Place, Running, e1000, eventually, process};

/// Returns the compiler's process of a run, if it has one now.
fn compiler(run: &Running) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{}/task", run.pid())).ok()?;
    let children = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children = children.collect::<String>();
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| name(pid).trim() == NAME)
}

/// Starts a run that has to compile its driver, and stops the compiler as soon as it is there: the wait for it would
/// not end by itself.
fn waiting_for_ever(place: &Place) -> (Running, u32) {
    let mut run = place.nook_run([e1000().to_str().unwrap(), "--no-cache"]).start();
    assert!(run.wait_for(|run| compiler(run).is_some(), "it compiles nothing"), "{}", run.stderr());
    let pid = compiler(&run).expect("compiling the driver takes longer than one look");
    signal(pid, libc::SIGSTOP);
    (run, pid)
}

fn signal(pid: u32, signal: i32) {
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal with a name");
    rustix::process::kill_process(process(pid), signal).expect("a process that is there");
}

#[track_caller]
fn assert_gone(pid: u32) {
    eventually("the compiler is gone", || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == NAME { Err(format!("{pid} is there")) } else { Ok(()) }
    });
}

#[test]
fn a_signal_while_a_driver_is_compiled_ends_the_run() {
    for asked in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let place = Place::new();
        let (run, pid) = waiting_for_ever(&place);
        run.signal(asked);
        let ended = run.end().with(128 + asked);
        assert!(ended.stderr.contains("asked to end while the driver was being compiled"), "{}", ended.stderr);
        assert_gone(pid);
        assert!(place.names().is_empty(), "{:?}", place.names());
    }
}

#[test]
fn the_compiler_goes_with_a_run_that_is_killed() {
    let (run, pid) = waiting_for_ever(&Place::new());
    run.signal(libc::SIGKILL);
    assert_eq!(run.end().code(), 128 + libc::SIGKILL);
    assert_gone(pid);
}

#[test]
fn a_compiler_that_takes_more_than_it_may_is_ended() {
    for (limit, says) in [("time = \"1us\"", "`compiler.time`"), ("memory_mib = 8", "`compiler.memory_mib`")] {
        let place = Place::new();
        let policy = place.file("policy.toml", format!("[compiler]\n{limit}\n"));
        let driver = e1000();
        let args = [driver.to_str().unwrap(), "--no-cache", "--policy", policy.to_str().unwrap()];
        let ended = place.nook_run(args).end().with(1);
        assert!(
            ended.stderr.contains("the driver was not compiled") && ended.stderr.contains(says),
            "{}",
            ended.stderr
        );
        assert_eq!(place.names(), ["policy.toml"]);
    }
}

#[test]
fn a_compiler_that_the_kernel_ends_for_its_time_is_said_to_have_used_it() {
    let (run, pid) = waiting_for_ever(&Place::new());
    signal(pid, libc::SIGXCPU);
    signal(pid, libc::SIGCONT);
    let ended = run.end().with(1);
    assert!(ended.stderr.contains("`compiler.time`"), "{}", ended.stderr);
}

#[test]
fn what_was_compiled_is_not_compiled_again() {
    let place = Place::new();
    let driver = e1000();
    let run = |policy: &str| {
        let policy = place.file("policy.toml", policy);
        let args = [driver.to_str().unwrap(), "--duration", "1ms", "--policy", policy.to_str().unwrap()];
        place.nook_run(args).env("XDG_CACHE_HOME", place.at("cache")).end()
    };
    let no_time = "[compiler]\ntime = \"0s\"\n";
    run(no_time).with(1);
    run("").with(0);
    run(no_time).with(0);
    // Another way of rolling back is another module.
    run(&format!("{no_time}[rollback]\nmethod = \"pages\"\n")).with(1);
}
