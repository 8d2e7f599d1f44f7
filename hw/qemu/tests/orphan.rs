//! QEMU ends when the process that started it is killed, without a chance to clean up.
//!
//! It has its own `main`: it starts itself as the process that is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nook_bus::DmaWindow;
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};

const HOLD: &str = "--hold-a-card";
const NAME: &str = "qemu_ends_when_its_starter_is_killed";

fn main() {
    let asked = |wanted| std::env::args().any(|arg| arg == wanted);
    if asked(HOLD) {
        hold_a_card()
    }
    if asked("--list") {
        // As a test binary does, none of whose tests is ignored.
        if !asked("--ignored") {
            println!("{NAME}: test");
        }
        return;
    }
    let myself = std::env::current_exe().unwrap();
    let mut holder = Command::new(myself).arg(HOLD).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap_or_else(|_| panic!("the holder did not start its card: {line:?}"));
    assert!(running(pid));

    holder.kill().unwrap();
    holder.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while running(pid) {
        assert!(Instant::now() < deadline, "QEMU, process {pid}, outlives the process that started it");
        thread::sleep(Duration::from_millis(5));
    }
    println!("test {NAME} ... ok");
}

/// Says QEMU's process id and waits to be killed.
fn hold_a_card() -> ! {
    let window = DmaWindow::new(2 << 20).unwrap();
    let config = QemuConfig::new("e1000".parse().unwrap(), QemuNet::User { restrict: true });
    // On a thread that ends, as a nook's does.
    let card = thread::spawn(move || QemuDevice::start(config, &window)).join().unwrap();
    let card = card.unwrap_or_else(|error| panic!("{error}"));
    println!("{}", card.process_id());
    loop {
        thread::park();
    }
}

/// Returns whether the process runs; an orphan that nobody has reaped yet does not.
fn running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().next());
    !matches!(state, Some("Z" | "X"))
}
