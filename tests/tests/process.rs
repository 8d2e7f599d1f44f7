//! `--isolation process`: what a driver's process may do to its host (nothing), and what comes of its end.
//!
//! The hostile program is `tests/hostile-process`, which gets a number for what to do.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use e1000_model::{Behaviour, Model, ModelConfig};
use nook_abi::{Entry, Fault, Hostcall, TrapKind};
use nook_compiled::CompiledError;
use nook_process::{ProcessError, ProcessLauncher, Wait};
use nook_recovery::{Policy, RecoveryOutcome, Supervisor};
use nook_runtime::{
    Budgets, Driver, Ended, Host, Launcher, Layout, Nook, NookBuilder, NookError, OwnedManifest, Settings, now_ns,
    parse_manifest,
};
use nook_tests::{Device, FrameQueues, Isolation, Rig, cable, driver_file, e1000_module, frame};

/// As the program says of itself.
const MANIFEST: &str = "abi = 1.0\nclass = net\nversion = 0.1.0\nlicense = Apache-2.0\nname = hostile\n\
                        pci = 8086:100e\nregisters = e1000\ndma_bytes = 8192\ndma_mask_bits = 64\n";

/// One at a time: the tests look for this process's children.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the processes whose parent is this one; QEMU is none of them here.
fn children() -> HashSet<i32> {
    let me = std::process::id();
    let threads = fs::read_dir(format!("/proc/{me}/task")).unwrap();
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let lists: Vec<String> = threads.map(|thread| of_thread(thread.unwrap())).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

fn hostile() -> (OwnedManifest, Layout, ProcessLauncher) {
    let manifest = parse_manifest(MANIFEST.as_bytes()).unwrap();
    let program = driver_file("hostile").with_extension("elf");
    let launcher = ProcessLauncher::new(&program, &manifest, Wait::Futex);
    let launcher = launcher.unwrap_or_else(|error| panic!("{error}"));
    let layout = Layout::new(0, &manifest);
    (manifest, layout, launcher)
}

/// Less than usual, so that what runs for ever is soon found out.
const BUDGETS: fn() -> Budgets = || Budgets {
    process_cpu_ns: 100_000_000,
    process_wall_ns: 1_000_000_000,
    process_total_ns: 2_000_000_000,
    ..Budgets::default()
};

fn host(manifest: &OwnedManifest, layout: &Layout) -> Host {
    let (near, _far) = cable();
    let model = Model::new(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() }, Box::new(near));
    NookBuilder::new(manifest, layout, &[&e1000_regs::MAP]).budgets(BUDGETS()).host(Box::new(model)).unwrap()
}

fn probed(launcher: &ProcessLauncher, host: Host) -> Box<dyn Driver> {
    let mut driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(0));
    driver
}

/// Returns what follows from this number.
fn fault_of(what: u32) -> Option<Fault> {
    let (manifest, layout, launcher) = hostile();
    let mut driver = probed(&launcher, host(&manifest, &layout));
    let fault = driver.set_mtu(what).err();
    if let Some(fault) = fault {
        assert_eq!(driver.set_mtu(0), Err(fault), "after a fault it is not called again");
        assert_eq!(children(), HashSet::new(), "{what}: it was ended");
    }
    // Whatever it did: the same host takes another one on the same device.
    let Ended { host, quiet } = driver.end();
    assert_eq!(children(), HashSet::new(), "{what}: nothing is left");
    quiet.unwrap();
    let good = probed(&launcher, host);
    drop(good);
    assert_eq!(children(), HashSet::new());
    fault
}

fn trap(kind: TrapKind) -> Option<Fault> {
    Some(Fault::Trap { entry: Entry::SetMtu, kind })
}

#[test]
fn a_system_call_that_reaches_anything_is_a_fault() {
    let _alone = alone();
    // A file, a socket, a process, a signal, programs, executable memory, more memory, a write to its memory's
    // descriptor, another futex operation, its memory's length, another descriptor.
    for what in 100..=111 {
        assert_eq!(fault_of(what), trap(TrapKind::Syscall), "{what}");
    }
}

#[test]
fn the_end_of_its_process_is_a_fault() {
    let _alone = alone();
    assert_eq!(fault_of(112), trap(TrapKind::Ended), "exit");
    assert_eq!(fault_of(113), trap(TrapKind::MemoryOutOfBounds), "a wild store");
    assert_eq!(fault_of(114), trap(TrapKind::Unreachable), "a panic");
    assert_eq!(fault_of(115), trap(TrapKind::MemoryOutOfBounds), "endless recursion");
}

#[test]
fn who_does_not_come_back_is_ended() {
    let _alone = alone();
    let Budgets { process_cpu_ns, process_wall_ns, .. } = BUDGETS();
    let cpu = Some(Fault::CpuBudget { entry: Entry::SetMtu, limit_ns: process_cpu_ns });
    let wall = Some(Fault::WallBudget { entry: Entry::SetMtu, limit_ns: process_wall_ns });
    assert_eq!(fault_of(117), wall, "sleeps");
    // A noisy machine may find the one first or the other.
    for (what, does) in [(116, "spins"), (118, "asks for ever"), (119, "posts for ever"), (131, "posts without end")] {
        let fault = fault_of(what);
        assert!(fault == cpu || fault == wall || what == 131 && fault == trap(TrapKind::Channel), "{does}: {fault:?}");
    }
}

/// Signals this process's only child, which was not waited for.
fn signal_child(signal: rustix::process::Signal) {
    let children = children();
    assert_eq!(children.len(), 1);
    for pid in children {
        let pid = rustix::process::Pid::from_raw(pid).expect("processes count from 1");
        rustix::process::kill_process(pid, signal).expect("it is there");
    }
}

#[test]
fn who_was_stopped_is_not_charged_for_it_and_for_what_follows_it_is() {
    use rustix::process::Signal;
    let _alone = alone();
    let (manifest, layout, launcher) = hostile();
    let mut driver = probed(&launcher, host(&manifest, &layout));
    let longer_than_any_limit = Duration::from_nanos(BUDGETS().process_total_ns) * 3 / 2;
    let stopped_during = |driver: &mut dyn Driver, what| {
        signal_child(Signal::STOP);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(longer_than_any_limit);
                signal_child(Signal::CONT);
            });
            driver.set_mtu(what)
        })
    };
    assert_eq!(stopped_during(&mut *driver, 0), Ok(0), "it returns as soon as it can");
    let limit_ns = BUDGETS().process_wall_ns;
    let fault = stopped_during(&mut *driver, 117);
    assert_eq!(fault, Err(Fault::WallBudget { entry: Entry::SetMtu, limit_ns }), "it sleeps after that");
    driver.end().quiet.unwrap();
    assert_eq!(children(), HashSet::new());
}

#[test]
fn who_works_when_nobody_has_called_is_ended_and_who_rests_is_not() {
    let _alone = alone();
    let (manifest, layout, launcher) = hostile();
    let mut driver = probed(&launcher, host(&manifest, &layout));
    let end_ns = now_ns() + 500_000_000;
    while now_ns() < end_ns {
        assert_eq!(driver.set_mtu(0), Ok(0));
    }
    assert_eq!(driver.set_mtu(132), Ok(0));
    let end_ns = now_ns() + 60_000_000_000;
    let fault = loop {
        assert!(now_ns() < end_ns, "it is not found");
        std::thread::sleep(Duration::from_millis(10));
        if let Err(fault) = driver.set_mtu(0) {
            break fault;
        }
    };
    assert_eq!(fault, Fault::CpuBudget { entry: Entry::SetMtu, limit_ns: BUDGETS().process_cpu_ns });
    driver.end().quiet.unwrap();
    assert_eq!(children(), HashSet::new());
}

#[test]
fn nonsense_in_the_channel_is_a_fault() {
    let _alone = alone();
    assert_eq!(fault_of(120), trap(TrapKind::Channel), "a count that leaps");
    assert_eq!(fault_of(121), trap(TrapKind::Channel), "a hostcall that there is not");
    assert_eq!(fault_of(122), trap(TrapKind::Channel), "a posted call that answers");
    assert_eq!(fault_of(123), trap(TrapKind::Channel), "a kind that there is not");
}

#[test]
fn what_it_asks_for_is_checked_as_for_every_driver() {
    let _alone = alone();
    for (what, addr) in [(124, 0), (125, nook_process::MEMORY_AT - 1), (126, u64::MAX)] {
        let expected = Fault::OutOfBounds { call: Hostcall::Log, argument: "text", addr, len_bytes: 64 };
        assert_eq!(fault_of(what), Some(expected));
    }
    let forbidden = fault_of(127);
    assert!(matches!(forbidden, Some(Fault::RegisterForbidden { call: Hostcall::MmioRead32, .. })), "{forbidden:?}");
    let forbidden = fault_of(128);
    assert!(matches!(forbidden, Some(Fault::RegisterForbidden { call: Hostcall::MmioWrite32, .. })), "{forbidden:?}");
}

#[test]
fn garbage_over_all_that_it_shares_harms_nobody_else() {
    let _alone = alone();
    for _ in 0..10 {
        assert!(fault_of(129).is_some(), "it wrote over its channel");
    }
    // Its call of `poll` is over for the host, and it writes on, into heap, rings and window.
    let (manifest, layout, launcher) = hostile();
    let mut nook = Nook::net(host(&manifest, &layout), Box::new(launcher), FrameQueues::default());
    nook.start().unwrap();
    nook.set(Settings { mtu_bytes: Some(130), ..nook.settings().clone() }).unwrap();
    let fault = (0..10_000).find_map(|_| {
        nook.backend_mut().to_send.push_back(frame(1, 60));
        nook.turn(now_ns() + 100_000).err()
    });
    assert!(matches!(fault, Some(NookError::Fault { .. })), "{fault:?}");
    nook.restart().unwrap();
    nook.shut().unwrap();
    assert_eq!(children(), HashSet::new());
}

#[test]
fn a_program_that_is_not_the_driver_is_refused() {
    let manifest = e1000_module().manifest().clone();
    let refused = |path: &std::path::Path| ProcessLauncher::new(path, &manifest, Wait::Futex).err();
    let hostile = driver_file("hostile").with_extension("elf");
    let program = |path: &std::path::Path| match refused(path) {
        Some(ProcessError::Program(error)) => error,
        other => panic!("{}: {other:?}", path.display()),
    };
    assert!(matches!(program(&hostile), CompiledError::OtherDriver { .. }));
    assert!(matches!(program(&driver_file("e1000")), CompiledError::NotADriver { .. }));
    assert!(matches!(program(&std::env::current_exe().unwrap()), CompiledError::NotADriver { .. }));
    assert!(matches!(program("/nowhere.elf".as_ref()), CompiledError::Unreadable { .. }));
}

#[test]
fn its_process_is_out_of_a_terminals_reach_and_the_kernel_schedules_it_with_its_host() {
    let _alone = alone();
    let (manifest, layout, launcher) = hostile();
    let driver = probed(&launcher, host(&manifest, &layout));
    let children = children();
    let [pid] = *children.iter().collect::<Vec<_>>() else { panic!("one process: {children:?}") };
    // Fields of proc(5) behind the name, which may have blanks: state, parent, process group, session.
    let of = |whose: &str| {
        let stat = fs::read_to_string(format!("/proc/{whose}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<String> = fields.split(' ').skip(2).take(2).map(str::to_owned).collect();
        fields
    };
    let [group, session] = of(&pid.to_string()).try_into().unwrap();
    let [host_group, host_session] = of("self").try_into().unwrap();
    assert_ne!(group, host_group, "what is typed would reach it");
    // The kernel shares a processor out among sessions (sched(7), autogroup), and left one such process waiting for
    // seconds for a processor that nothing of ordinary priority used.
    assert_eq!(session, host_session);
    drop(driver);
}

#[test]
fn its_process_has_no_rights_and_nothing_open() {
    let _alone = alone();
    let (manifest, layout, launcher) = hostile();
    let driver = probed(&launcher, host(&manifest, &layout));
    let children = children();
    let [pid] = *children.iter().collect::<Vec<_>>() else { panic!("one process: {children:?}") };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:"), field("Threads:")),
        (vec!["1".into()], vec!["2".into()], vec!["1".into()])
    );
    assert_eq!(
        (field("CapPrm:"), field("CapEff:")),
        (vec!["0000000000000000".into()], vec!["0000000000000000".into()])
    );
    assert!(field("Uid:").iter().all(|uid| uid != "0"), "{status}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for none in ["Max processes", "Max open files", "Max locked memory", "Max core file size", "Max file size"] {
        let limit = limits.lines().find(|line| line.starts_with(none)).and_then(|line| line.strip_prefix(none));
        assert_eq!(limit.and_then(|line| line.split_whitespace().nth(1)), Some("0"), "{limits}");
    }
    // A user whom the machine permits none has none, and is warned.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        for kind in ["pid", "net", "mnt", "ipc", "uts", "cgroup"] {
            let namespace = |whose: &str| fs::read_link(format!("/proc/{whose}/ns/{kind}")).unwrap();
            assert_ne!(namespace(&pid.to_string()), namespace("self"), "{kind}");
        }
        assert_eq!(fs::read_dir(format!("/proc/{pid}/root")).unwrap().count(), 0, "its file system is empty");
    }
    // Those of a process that may not be looked into are seen by root only.
    if let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) {
        let open: HashSet<String> = open.map(|fd| fd.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(open, ["3", "4"].map(str::to_owned).into());
    }
    drop(driver);
    assert_eq!(self::children(), HashSet::new());
}

#[test]
fn a_driver_that_is_killed_under_traffic_comes_back_and_no_frame_to_be_sent_is_lost() {
    const FRAMES: u32 = 3000;
    let _alone = alone();
    for isolation in [Isolation::Process, Isolation::ProcessPoll] {
        let device = Device::Model(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() });
        let Rig { nook, mut far } = Rig::new(&device, isolation);
        let policy = Policy { restarts: 100, backoff_first_ns: 0, ..Policy::default() };
        let mut supervisor = Supervisor::new(nook, policy);
        supervisor.start().unwrap();
        let (mut given, mut arrived) = (0, HashSet::new());
        let mut buffer = vec![0; 65536];
        let end_ns = now_ns() + 60_000_000_000;
        let mut kills = 0;
        while arrived.len() < FRAMES as usize {
            assert!(now_ns() < end_ns, "{} of {FRAMES} frames arrived", arrived.len());
            if given < FRAMES && supervisor.nook().backend().to_send.len() < 64 {
                supervisor.nook_mut().backend_mut().to_send.push_back(frame(given, 200));
                given += 1;
            }
            let _ = far.send(&frame(given, 100));
            if kills < 5 && arrived.len() >= (kills + 1) * 500 {
                kills += 1;
                for pid in children() {
                    // A child of this process that was not waited for.
                    let pid = rustix::process::Pid::from_raw(pid).expect("processes count from 1");
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
                }
            }
            supervisor.turn(now_ns() + 100_000).unwrap();
            while let Ok(Some(len)) = far.recv(&mut buffer) {
                assert_eq!(len, 200);
                let number = u32::from_be_bytes(buffer[14..18].try_into().unwrap());
                assert!(buffer[..len] == frame(number, 200), "frame {number} is as it was given");
                arrived.insert(number);
            }
        }
        assert_eq!(supervisor.restarts(), 5);
        assert!(supervisor.recoveries().iter().all(|it| matches!(it.outcome, RecoveryOutcome::Restarted { .. })));
        assert_eq!(supervisor.nook().backend().links, [true], "the interface above stayed up");
        supervisor.nook_mut().stop().unwrap();
        assert_eq!(children(), HashSet::new());
    }
}
