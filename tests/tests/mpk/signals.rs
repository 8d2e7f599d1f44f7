//! Signals: those of a driver's mistakes end its call, and all others do what they did before, on whatever thread and
//! stack.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use hostile_domain::wrong;
use nook_abi::{Fault, TrapKind};
use nook_mpk::MpkLauncher;
use nook_runtime::{Budgets, Launcher, Mmio, ModuleCache, WasmLauncher};
use nook_tests::wat_driver;

use crate::rig::{alone, ends, is_over_budget, launcher, opened, polled, trap, works};

/// Says what a copy of this program is to do, for what ends a process.
const CHILD: &str = "NOOK_TEST_MPK_CHILD";

/// Returns what this process is to do, if it is such a copy.
fn as_child() -> Option<String> {
    env::var(CHILD).ok()
}

/// Runs one test of this program in a copy that is to do this.
fn child(test: &str, what: &str) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "--test-threads", "1", test]).env(CHILD, what).output().unwrap()
}

/// The thread that runs.
fn this_thread() -> libc::pid_t {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// Sends a signal to a thread of this process, as `kill` would from outside.
fn send(to: libc::pid_t, signal: i32) {
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), to, signal) }, 0);
}

/// Has a signal handled by a function, with these flags.
fn handle_by(signal: i32, flags: i32, handler: usize) {
    // SAFETY: a handler that writes to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

fn handle(signal: i32, flags: i32) {
    handle_by(signal, flags, count as *const () as usize);
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Uses its stack, and looks at what came with the signal.
extern "C" fn count_more(signal: i32, info: *mut libc::siginfo_t, _: *mut std::ffi::c_void) {
    let mut local = std::hint::black_box([signal; 64]);
    // SAFETY: the kernel gave it to a handler.
    local[1] = unsafe { (*info).si_signo };
    let same = std::hint::black_box(&local).iter().all(|&one| one == signal);
    HANDLED.fetch_add(u32::from(same), Ordering::Relaxed);
}

/// Polls a driver while another thread does this again and again.
fn polled_beside(launcher: &MpkLauncher, wrong: u32, address: u64, beside: impl Fn() + Sync) -> Result<(), Fault> {
    let driver = opened(launcher, wrong, address);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(200));
                beside();
            }
        });
        let outcome = polled(driver);
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

#[test]
fn what_somebody_sends_is_not_taken_for_a_drivers_mistake_and_the_hosts_own_stay_the_hosts_end() {
    const NAME: &str =
        "signals::what_somebody_sends_is_not_taken_for_a_drivers_mistake_and_the_hosts_own_stay_the_hosts_end";
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let ends_by = |what: &str| child(NAME, what).status.signal();
    match as_child().as_deref() {
        None => {
            assert_eq!(ends_by("sent"), Some(libc::SIGSEGV));
            assert_eq!(ends_by("store"), Some(libc::SIGSEGV));
            assert_eq!(ends_by("breakpoint"), Some(libc::SIGTRAP));
            assert_eq!(ends_by("nothing"), None);
        }
        Some("sent") => {
            let me = this_thread();
            let _ = polled_beside(&launcher, wrong::SPINS, 0, || send(me, libc::SIGSEGV));
        }
        Some("store") => {
            works(&launcher);
            // SAFETY: none: it ends this process.
            unsafe { std::arch::asm!("mov dword ptr [{}], 1", in(reg) 0x10u64) };
        }
        Some("breakpoint") => {
            works(&launcher);
            // SAFETY: it ends this process.
            unsafe { std::arch::asm!("int3") };
        }
        Some(_) => works(&launcher),
    }
}

#[test]
fn a_handler_that_returns_into_a_driver_leaves_it_the_rights_that_it_had() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let heap = Box::new(7u64);
    let me = this_thread();
    handle(libc::SIGUSR1, libc::SA_ONSTACK | libc::SA_RESTART);
    let before = HANDLED.load(Ordering::Relaxed);
    let mut rounds = 0;
    while HANDLED.load(Ordering::Relaxed) < before + 20 {
        let ended =
            polled_beside(&launcher, wrong::SPINS_AND_STORES, &raw const *heap as u64, || send(me, libc::SIGUSR1));
        assert_eq!(ended, trap(TrapKind::MemoryOutOfBounds));
        assert_eq!(std::hint::black_box(*heap), 7);
        rounds += 1;
        assert!(rounds < 1000, "no signal comes");
    }
}

/// Returns whether this thread does not take a signal.
fn is_blocked(signal: i32) -> bool {
    // SAFETY: a set of ours is written and asked.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        libc::sigismember(&set, signal) == 1
    }
}

#[test]
fn a_handler_that_was_installed_late_and_without_a_stack_ends_one_call_and_loses_no_signal() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let me = this_thread();
    let mut met = 0;
    for round in 0..200 {
        let driver = opened(&launcher, wrong::SPINS, 0);
        // Launching would have mended it.
        match round % 2 {
            0 => handle(libc::SIGUSR2, 0),
            _ => handle_by(libc::SIGUSR2, libc::SA_SIGINFO, count_more as *const () as usize),
        }
        let before = HANDLED.load(Ordering::Relaxed);
        let outcome = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(3));
                send(me, libc::SIGUSR2);
            });
            polled(driver)
        });
        assert_eq!(HANDLED.load(Ordering::Relaxed), before + 1, "{round}: {outcome:?}");
        assert!(!is_blocked(libc::SIGUSR2), "{round}: {outcome:?}");
        // It may have come before the driver was called.
        match outcome {
            ended if ended == trap(TrapKind::Other) => met += 1,
            ended => assert!(is_over_budget(ended), "{ended:?}"),
        }
        if met == 6 {
            // The handler has a stack now.
            let before = HANDLED.load(Ordering::Relaxed);
            let ended = polled_beside(&launcher, wrong::SPINS, 0, || send(me, libc::SIGUSR2));
            assert!(is_over_budget(ended), "{ended:?}");
            assert_ne!(HANDLED.load(Ordering::Relaxed), before);
            return;
        }
    }
    panic!("the signal came while the driver ran in {met} of 200 rounds");
}

/// The engine's handlers and these are installed in either order, each passes on what is not its own.
#[test]
fn a_driver_in_the_sandbox_and_one_behind_a_key_each_recover_whichever_came_first() {
    const NAME: &str = "signals::a_driver_in_the_sandbox_and_one_behind_a_key_each_recover_whichever_came_first";
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let sandboxed = |body: &str| {
        let module = std::sync::Arc::new(wat_driver(&[("poll", body)], ""));
        let (device, _handle) = nook_tests::BareDevice::new();
        let window = nook_bus::DmaWindow::new(module.layout().window_bytes).unwrap();
        let host = nook_tests::host(Box::new(device), window, &module, Budgets::default());
        let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
        let mut driver = launcher.launch(host).map_err(|error| error.why).unwrap();
        let page = driver.host_page();
        assert_eq!(driver.probe(0, page), Ok(0));
        driver.poll(0, 64, 0).map(drop)
    };
    // A load outside its memory, a division, and an instruction for what cannot be reached: SIGSEGV, SIGFPE
    // and SIGILL.
    let in_wasm = || {
        assert_eq!(sandboxed("(drop (i32.load (i32.const -8))) (i32.const 0)"), trap(TrapKind::MemoryOutOfBounds));
        assert_eq!(sandboxed("(i32.div_u (i32.const 1) (i32.const 0))"), trap(TrapKind::Arithmetic));
        assert_eq!(sandboxed("(unreachable)"), trap(TrapKind::Unreachable));
    };
    let behind_a_key = || {
        assert_eq!(ends(&launcher, wrong::STORES, 0), trap(TrapKind::MemoryOutOfBounds));
        assert_eq!(ends(&launcher, wrong::DIVIDES, 0), trap(TrapKind::Arithmetic));
        assert_eq!(ends(&launcher, wrong::ILLEGAL, 0), trap(TrapKind::Unreachable));
    };
    match as_child().as_deref() {
        None => {
            for order in ["wasm", "key", "both"] {
                let output = child(NAME, order);
                assert!(output.status.success(), "{order}: {output:?}");
            }
        }
        Some("wasm") => (0..3).for_each(|_| {
            in_wasm();
            behind_a_key();
        }),
        Some("key") => (0..3).for_each(|_| {
            behind_a_key();
            in_wasm();
        }),
        // At the same time, on two threads.
        Some(_) => thread::scope(|scope| {
            scope.spawn(|| (0..50).for_each(|_| in_wasm()));
            (0..50).for_each(|_| behind_a_key());
        }),
    }
}
