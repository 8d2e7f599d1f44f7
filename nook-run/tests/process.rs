//! `--isolation process`: it does what the other levels do, and leaves no process behind, however it ends.

mod support;

use std::fs;
use std::time::Duration;

use support::{Place, Running, built, e1000, eventually};

/// Returns the processes that this one started, and that were not waited for.
fn children(run: &Running) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", run.pid())) else { return Vec::new() };
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let lists: Vec<String> = threads.flatten().map(of_thread).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Returns those of them that run a driver: a device may be a process, too.
fn drivers(run: &Running) -> Vec<u32> {
    let name = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    children(run).into_iter().filter(|pid| name(pid).starts_with(b"nook-driver\0")).collect()
}

/// It runs, or has ended and was not reaped, not even by its new parent.
fn is_there(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn gone(pids: &[u32]) {
    eventually("the driver's process is gone", || {
        let left: Vec<_> = pids.iter().copied().filter(|&pid| is_there(pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

fn kill(pid: u32) {
    // It may have ended already.
    let _ = rustix::process::kill_process(support::process(pid), rustix::process::Signal::KILL);
}

#[test]
fn exercises_pass_whichever_way_the_two_processes_wait() {
    for wait in ["futex", "poll"] {
        let place = Place::new();
        let driver = e1000();
        let args = ["--isolation", "process", "--process-wait", wait, "--exercise", "ping,rr", "--json", "report.json"];
        let ended = place.nook_run([driver.to_str().unwrap()].into_iter().chain(args)).end().with(0);
        assert!(ended.stderr.contains("isolation process"), "{}", ended.stderr);
        let report = fs::read_to_string(place.at("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["isolation"], &report["fault_count"]), (&"process".into(), &0.into()));
    }
}

#[test]
fn nothing_is_left_when_the_run_is_killed_at_whatever_moment() {
    for milliseconds in [5, 20, 50, 100, 200, 500, 1000] {
        let place = Place::new();
        let driver = e1000();
        let mut run = place.nook_run([driver.to_str().unwrap(), "--isolation", "process", "--exercise", "tcp"]).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        let children = children(&run);
        run.signal(libc::SIGKILL);
        assert!(!run.wait_for(|_| false, "its end"), "it was killed");
        gone(&children);
    }
}

#[test]
fn a_driver_whose_process_is_killed_comes_back_under_the_same_streams() {
    let place = Place::new();
    let driver = e1000();
    let args = ["--isolation", "process", "--exercise", "tcp", "--duration", "2s", "--json", "report.json"];
    let mut run = place.nook_run([driver.to_str().unwrap()].into_iter().chain(args)).start();
    let mut killed = Vec::new();
    for round in 0..2 {
        assert!(run.wait_for(|run| run.stderr().matches("link up").count() == 1, "the link is up"), "{}", run.stderr());
        let restarts = |run: &Running| run.stderr().matches("was restarted").count();
        assert!(
            run.wait_for(|run| restarts(run) == round && children(run).len() == 1, "its process"),
            "{}",
            run.stderr()
        );
        let [pid] = children(&run)[..] else { panic!("one process") };
        kill(pid);
        killed.push(pid);
        assert!(run.wait_for(|run| restarts(run) > round, "the restart"), "{}", run.stderr());
    }
    let ended = run.end().with(0);
    assert!(ended.stderr.contains("its process ended"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("link down").count(), 1, "at the end only: {}", ended.stderr);
    let report = fs::read_to_string(place.at("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["fault_count"], 2);
    assert_eq!(report["exercise"]["tcp"]["hash_ok"], true, "{report}");
    gone(&killed);
}

#[test]
fn a_misc_driver_whose_process_is_killed_comes_back_and_goes_on_with_its_operations() {
    let place = Place::new();
    let driver = built("edu.wasm");
    let args = ["-v", "--qemu", "edu", "--isolation", "process", "--duration", "10s", "--json", "report.json"];
    let mut run = place.nook_run([driver.to_str().unwrap()].into_iter().chain(args)).start();
    // A driver whose first probe fails is not restarted. This is said when it has come up.
    assert!(run.says("no snapshot: this driver"), "{}", run.stderr());
    let [pid] = drivers(&run)[..] else { panic!("one process: {}", run.stderr()) };
    kill(pid);
    let ended = run.end().with(0);
    assert!(ended.stderr.contains("its process ended"), "{}", ended.stderr);
    let report = fs::read_to_string(place.at("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["fault_count"], &report["recovery"]["restarts"]), (&1.into(), &1.into()), "{report}");
    let operations = report["operations"].as_array().unwrap();
    assert!(operations.iter().all(|it| it["right"].as_u64() > Some(0) && it["wrong"] == 0), "{report}");
    gone(&[pid]);
}

/// As on a machine that forbids user namespaces to those who are not root.
#[test]
#[ignore = "needs root"]
fn what_the_machine_does_not_permit_is_said() {
    let place = Place::new();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let driver = e1000();
    let args = ["--user", "--map-user=1000", "--keep-caps", "sh", "-c", script, "sh", support::NOOK_RUN];
    let args = args.into_iter().chain([driver.to_str().unwrap(), "--isolation", "process", "--duration", "100ms"]);
    let ended = place.command("unshare", args).end().with(0);
    assert!(ended.stderr.contains("WARN the driver's process shares the host's namespaces"), "{}", ended.stderr);
}

/// As in a container that its user has made: user 0 is the only one, and groups stay.
#[test]
fn in_a_user_namespace_a_driver_runs_at_each_level_and_its_process_is_walled_in() {
    for isolation in ["process", "sfi"] {
        let place = Place::new();
        let driver = e1000();
        // Nothing is in this cache, so that a compiler's process is made there too.
        let args = ["--user", "--map-root-user", support::NOOK_RUN, driver.to_str().unwrap(), "--isolation", isolation];
        let asked = place.command("unshare", args.into_iter().chain(["--exercise", "ping"]));
        let ended = asked.env("XDG_CACHE_HOME", place.path()).end().with(0);
        let walled = "the driver's process has its own namespaces and a few system calls";
        assert_eq!(ended.stderr.contains(walled), isolation == "process", "{}", ended.stderr);
    }
}

/// The same where no more user namespaces are permitted.
#[test]
fn in_a_user_namespace_that_permits_no_other_the_rest_of_the_sandbox_is_left_and_that_is_said() {
    let place = Place::new();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let driver = e1000();
    let args = ["--user", "--map-root-user", "sh", "-c", script, "sh", support::NOOK_RUN, driver.to_str().unwrap()];
    let args = args.into_iter().chain(["--isolation", "process", "--exercise", "ping"]);
    let ended = place.command("unshare", args).end().with(0);
    assert!(ended.stderr.contains("WARN the driver's process shares the host's users"), "{}", ended.stderr);
}

#[test]
fn what_is_asked_for_in_vain_is_said() {
    let place = Place::new();
    let driver = e1000();
    let driver = driver.to_str().unwrap();
    let ended = place.nook_run([driver, "--process-wait", "poll"]).end().with(1);
    assert!(ended.stderr.contains("--isolation process"), "{}", ended.stderr);
    let alone = place.file("alone.wasm", fs::read(driver).unwrap());
    let ended = place.nook_run([alone.to_str().unwrap(), "--isolation", "process"]).end().with(1);
    assert!(ended.stderr.contains("alone.elf") && ended.stderr.contains("cargo xtask drivers"), "{}", ended.stderr);
    let ended = place.nook_run([driver, "--isolation", "process", "--crash-every", "1s"]).end().with(1);
    assert!(ended.stderr.contains("kill the driver's process"), "{}", ended.stderr);
}
