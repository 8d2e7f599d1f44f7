//! A serial line on QEMU's `pci-serial`: its driver at every level through the chip's loopback, and as a
//! pseudo-terminal whose far end is a socket, whatever ends its calls. The latter also on QEMU's virtio console.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nook_seed::Rng;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value;
use support::{Place, Running, built};

/// How long a test waits for what is bound to come.
const PATIENCE: Duration = Duration::from_secs(240);

fn driver() -> String {
    built("serial").to_str().expect("a test's paths are text").to_owned()
}

fn report(place: &Place) -> Value {
    serde_json::from_slice(&std::fs::read(place.at("report.json")).expect("a report")).expect("JSON")
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// Runs the exercise, and reads the report.
fn exercised(args: &[&str]) -> Value {
    let place = Place::new();
    let all = ["--qemu", "pci-serial", "--exercise", "loop", "--json", "report.json"];
    place.nook_run([driver().as_str()].iter().chain(&all).chain(args)).end().with(0);
    report(&place)
}

/// A run with a pseudo-terminal whose line's far end is a socket.
struct Line {
    place: Place,
    run: Running,
    far: UnixStream,
}

impl Line {
    fn start(more: &[&str]) -> Self {
        Line::of(&driver(), &["--qemu", "pci-serial,socket=far.sock"], more)
    }

    /// Has the driver of the virtio console have the line.
    fn console(device: &str, more: &[&str]) -> Self {
        let driver = built("virtio-console");
        let device = ["--qemu", device, "--qemu-part", "virtconsole,socket=far.sock"];
        Line::of(driver.to_str().expect("a test's paths are text"), &device, more)
    }

    fn of(driver: &str, device: &[&str], more: &[&str]) -> Self {
        let place = Place::new();
        let socket = place.at("far.sock");
        let args = [&[driver], device, &["--pty", "line"]].concat().into_iter().map(str::to_owned);
        let more = more.iter().map(|&arg| arg.to_owned());
        let report = ["--json", "report.json"].map(str::to_owned);
        let run = place.nook_run(args.chain(report).chain(more)).start();
        let far = until("QEMU's socket", || UnixStream::connect(&socket).ok());
        until("the pseudo-terminal", || place.at("line").exists().then_some(()));
        let line = Line { place, run, far };
        line.meet();
        line
    }

    /// Waits until what is sent arrives: before the driver's cold start the chip loses what it receives, and until QEMU
    /// has accepted the far end, what is sent goes nowhere.
    fn meet(&self) {
        let (mut near, mut far, mut byte) = (self.terminal(), &self.far, [0]);
        far.set_read_timeout(Some(Duration::from_millis(200))).expect("a time");
        until("a byte at the far end", || {
            near.write_all(b"?").expect("the terminal takes it");
            far.read_exact(&mut byte).ok()
        });
        far.set_read_timeout(Some(PATIENCE)).expect("a time");
        near.write_all(b"!").expect("the terminal takes it");
        while byte != *b"!" {
            far.read_exact(&mut byte).expect("it arrives");
        }
    }

    /// Opens the terminal as a program does.
    fn terminal(&self) -> File {
        open(&self.place.at("line"))
    }

    /// Ends the run by a signal, and reads its report.
    fn end(self) -> Value {
        self.run.signal(libc::SIGINT);
        self.run.end().with(0);
        assert!(std::fs::symlink_metadata(self.place.at("line")).is_err(), "the link is left");
        report(&self.place)
    }
}

fn open(path: &Path) -> File {
    File::from(rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the terminal opens"))
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..bytes).map(|_| rng.word() as u8).collect()
}

/// Reads as many bytes, which have to be these.
fn compare(mut from: impl Read, wanted: &[u8], whose: &str) {
    let mut got = vec![0; wanted.len()];
    from.read_exact(&mut got).unwrap_or_else(|error| panic!("{whose}: {error}"));
    let wrong = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    assert_eq!(wrong, None, "{whose}: the first byte that is not as it was sent");
}

/// Sends bytes both ways at once; what arrives has to be what was sent.
fn exchange(near: &File, far: &UnixStream, bytes: usize) {
    let (out, back) = (random(1, bytes), random(2, bytes));
    std::thread::scope(|scope| {
        scope.spawn(|| (&mut &*near).write_all(&out).expect("the terminal takes it"));
        scope.spawn(|| (&mut &*far).write_all(&back).expect("QEMU takes it"));
        let far_end = far.try_clone().expect("a descriptor");
        let near_end = near.try_clone().expect("a descriptor");
        let arrives = scope.spawn(|| compare(far_end, &out, "at the far end"));
        compare(near_end, &back, "at the terminal");
        arrives.join().expect("what arrives at the far end is right");
    });
}

#[test]
fn bytes_go_through_the_chip_and_back_at_every_level() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        let report = exercised(&["--isolation", isolation]);
        assert_eq!((&report["isolation"], report["fault_count"].as_u64()), (&isolation.into(), Some(0)));
        let counters = &report["counters"];
        assert_eq!((count(&counters["sent"]), count(&counters["received"])), (1 << 16, 1 << 16), "{report:#}");
        assert_eq!((count(&counters["overruns"]), count(&counters["in_doubt"])), (0, 0), "{report:#}");
    }
}

#[test]
fn nothing_is_lost_over_calls_that_are_rolled_back() {
    let report = exercised(&["--crash-every", "50ms"]);
    assert!(count(&report["recovery"]["rollbacks"]) > 20, "{report:#}");
    assert_eq!(count(&report["recovery"]["restarts"]), 0, "{report:#}");
    assert_eq!(report["exercise"]["first_wrong"], Value::Null, "{report:#}");
}

#[test]
fn a_terminal_and_the_far_end_exchange_bytes_while_calls_are_rolled_back() {
    let line = Line::start(&["--crash-every", "50ms"]);
    exchange(&line.terminal(), &line.far, 1 << 17);
    let report = line.end();
    assert!(count(&report["recovery"]["rollbacks"]) > 10, "{report:#}");
    assert_eq!(count(&report["terminal"]["unread"]), 0, "{report:#}");
}

/// A driver that is restarted leaves what the chip's FIFO holds to its successor, and the terminal stays.
#[test]
fn a_terminal_stays_over_a_restart_and_one_byte_at_most_is_lost() {
    let line = Line::start(&["--isolation", "sfi", "--crash-at", "poll:20"]);
    let mut terminal = line.terminal();
    let mut far = line.far.try_clone().expect("a descriptor");
    let sent: Vec<u8> = (0..41 * 32).map(|at| (at % 251) as u8).collect();
    // The byte that was under way when the driver ended may be lost, so one less is waited for.
    let mut got = vec![0; sent.len() - 1];
    let mut read = 0;
    for (at, block) in sent.chunks(32).enumerate() {
        far.write_all(block).expect("QEMU takes it");
        let until = (at + 1) * 32 - 1;
        terminal.read_exact(&mut got[read..until]).expect("they arrive");
        read = until;
    }
    let lost = got.iter().zip(&sent).position(|(got, sent)| got != sent).unwrap_or(got.len());
    assert_eq!(got[lost..], sent[lost + 1..], "all but the one at {lost}");
    drop(terminal);
    let report = line.end();
    assert_eq!((count(&report["fault_count"]), count(&report["recovery"]["restarts"])), (1, 1), "{report:#}");
}

#[test]
fn what_a_program_sets_reaches_the_line_and_what_the_chip_cannot_do_is_refused() {
    let line = Line::start(&["-v", "--line", "9600,7e1"]);
    let terminal = line.terminal();
    let set = |baud: u32, two: bool| {
        let mut termios = tcgetattr(&terminal).expect("a terminal");
        termios.set_speed(baud).expect("a rate");
        termios.control_modes.set(ControlModes::CSTOPB, two);
        tcsetattr(&terminal, OptionalActions::Now, &termios).expect("it takes that");
    };
    set(19_200, true);
    until("the line's new rate", || line.run.stderr().contains("is set to 19200,7e2").then_some(()));
    set(230_400, true);
    until("its refusal", || line.run.stderr().contains("does not set the serial line to 230400,7e2").then_some(()));
    drop(terminal);
    let report = line.end();
    assert_eq!(report["line"], "19200,7e2", "{report:#}");
    assert_eq!(count(&report["counters"]["settings_refused"]), 1, "{report:#}");
}

#[test]
fn a_line_that_leads_nowhere_is_refused_with_what_to_do() {
    let place = Place::new();
    let end = place.nook_run([driver().as_str(), "--qemu", "pci-serial"]).end().with(1);
    assert!(end.stderr.contains("--pty PATH, or try it with --exercise loop"), "{}", end.stderr);
    let file = place.file("line", "mine");
    let args = [driver(), "--qemu".into(), "pci-serial".into(), "--pty".into(), file.display().to_string()];
    let end = place.nook_run(args).end().with(1);
    assert!(end.stderr.contains("is no link to a pseudo-terminal"), "{}", end.stderr);
}

const CONSOLE: &str = "virtio-serial-pci";
/// What a far end holds for certain that reads late: QEMU's console drops what it does not take at once
/// (findings/qemu-virtconsole-dropped-bytes.sh).
const HELD_BYTES: usize = 4096;

/// Exchanges bytes, of which what is sent arrives before more of it is sent.
fn exchange_by_blocks(near: &File, far: &UnixStream, bytes: usize) {
    let (out, back) = (random(1, bytes), random(2, bytes));
    std::thread::scope(|scope| {
        scope.spawn(|| (&mut &*far).write_all(&back).expect("QEMU takes it"));
        scope.spawn(|| {
            for block in out.chunks(HELD_BYTES) {
                (&mut &*near).write_all(block).expect("the terminal takes it");
                compare(far, block, "at the far end");
            }
        });
        compare(near, &back, "at the terminal");
    });
}

#[test]
fn a_virtio_console_passes_bytes_both_ways_at_every_level_but_mpk() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        for options in ["", ",vectors=1", ",disable-legacy=on,iommu_platform=on,vectors=0"] {
            let line = Line::console(&format!("{CONSOLE}{options}"), &["--isolation", isolation]);
            exchange_by_blocks(&line.terminal(), &line.far, 1 << 15);
            let report = line.end();
            assert_eq!((&report["isolation"], count(&report["fault_count"])), (&isolation.into(), 0), "{report:#}");
            let counters = &report["counters"];
            assert_eq!((count(&counters["in_doubt"]), count(&counters["not_passed_on"])), (0, 0), "{report:#}");
        }
    }
}

#[test]
fn every_call_of_a_virtio_consoles_that_crashes_is_rolled_back_and_no_byte_is_lost() {
    for options in ["", ",vectors=1", ",disable-legacy=on,iommu_platform=on,vectors=0"] {
        let line = Line::console(&format!("{CONSOLE}{options}"), &["--crash-every", "50ms"]);
        exchange_by_blocks(&line.terminal(), &line.far, 1 << 19);
        let report = line.end();
        assert!(count(&report["fault_count"]) > 2, "{report:#}");
        assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{report:#}");
    }
}

/// Returns how many bytes are missing at one place of what arrived, and fails if anything else is wrong with it.
fn missing(got: &[u8], sent: &[u8], whose: &str) -> usize {
    let before = got.iter().zip(sent).position(|(got, sent)| got != sent).unwrap_or(got.len().min(sent.len()));
    let missing = sent.len().checked_sub(got.len()).unwrap_or_else(|| panic!("{whose}: more than was sent"));
    assert!(got[before..] == sent[before + missing..], "{whose}: more than the {missing} bytes at {before} are wrong");
    missing
}

/// Reads until this has come.
fn read_until(mut from: impl Read, end: &[u8], whose: &str) -> Vec<u8> {
    let (mut got, mut bytes) = (Vec::new(), [0; 4096]);
    while !got.ends_with(end) {
        let read = from.read(&mut bytes).unwrap_or_else(|error| panic!("{whose}, after {}: {error}", got.len()));
        assert!(read > 0, "{whose}: the end, after {} bytes", got.len());
        got.extend(&bytes[..read]);
    }
    got
}

/// The next driver sends what was announced to nobody, and hands over what the device had received.
#[test]
fn a_virtio_console_that_is_restarted_loses_one_byte_it_had_received_at_most_and_sent_ones_if_in_doubt() {
    let mut lost = (0, 0);
    let calls = ["poll:20", "poll:21", "poll:22", "poll:23", "poll:101", "irq:20"];
    for at in calls {
        let line = Line::console(CONSOLE, &["--isolation", "sfi", "--crash-at", at]);
        let near = line.terminal();
        let (out, back) = (random(1, 2 * HELD_BYTES), random(2, 1 << 15));
        let (arrived, returned) = std::thread::scope(|scope| {
            scope.spawn(|| (&mut &near).write_all(&out).expect("the terminal takes it"));
            scope.spawn(|| (&mut &line.far).write_all(&back).expect("QEMU takes it"));
            let arrived = scope.spawn(|| read_until(&line.far, &out[out.len() - 64..], "at the far end"));
            let returned = read_until(&near, &back[back.len() - 64..], "at the terminal");
            (arrived.join().expect("bytes"), returned)
        });
        drop(near);
        let report = line.end();
        assert_eq!((count(&report["fault_count"]), count(&report["recovery"]["restarts"])), (1, 1), "{at}: {report:#}");
        let (sent, received) = (missing(&arrived, &out, at), missing(&returned, &back, at));
        assert!(sent as u64 <= count(&report["counters"]["in_doubt"]) && received <= 1, "{at}: {sent}, {received}");
        lost = (lost.0 + sent, lost.1 + received);
    }
    println!("lost over {} restarts: {} bytes that were sent, {} received", calls.len(), lost.0, lost.1);
}

/// What programs do that people use.
mod programs {
    use super::*;
    use std::process::{Command, Stdio};

    const PYTHON: &str = r#"
import hashlib, random, serial, sys, threading
port = serial.Serial(sys.argv[1], 115200, timeout=600)
def stream(seed): return random.Random(seed).randbytes(int(sys.argv[2]))
writes = threading.Thread(target=lambda: port.write(stream(1)))
writes.start()
got = port.read(int(sys.argv[2]))
writes.join()
print(hashlib.sha256(got).hexdigest() == hashlib.sha256(stream(2)).hexdigest())
"#;
    const FAR: &str = r#"
import hashlib, random, socket, sys, threading
far = socket.socket(socket.AF_UNIX); far.connect(sys.argv[1]); far.settimeout(600)
print("connected", flush=True)
def stream(seed): return random.Random(seed).randbytes(int(sys.argv[2]))
got = far.recv(1)
writes = threading.Thread(target=lambda: far.sendall(stream(2)))
writes.start()
while len(got) < int(sys.argv[2]):
    more = far.recv(65536)
    if not more: break
    got += more
writes.join()
print(hashlib.sha256(got).hexdigest() == hashlib.sha256(stream(1)).hexdigest())
"#;

    /// Bytes each way. Each is a round trip to QEMU and back: a mebibyte takes four minutes, this half of one.
    /// `NOOK_SERIAL_BYTES=1048576 cargo test --release --package nook-run --test serial pyserial` sends that.
    const BYTES: &str = "131072";

    #[test]
    fn pyserial_sends_and_receives_with_the_right_hash_while_calls_are_rolled_back() {
        let bytes = std::env::var("NOOK_SERIAL_BYTES").unwrap_or_else(|_| BYTES.into());
        let line = Line::start(&["--crash-every", "50ms"]);
        // Its place is taken.
        line.far.shutdown(std::net::Shutdown::Both).expect("it was connected");
        let python = |script: &str, at: &str| {
            let mut command = Command::new("/usr/bin/python3");
            command.args(["-c", script]).arg(line.place.at(at)).arg(&bytes).stdout(Stdio::piped());
            command.spawn().expect("Debian's python3 with pyserial (`cargo xtask setup`)")
        };
        let mut far = python(FAR, "far.sock");
        let mut said = BufReader::new(far.stdout.take().expect("it is piped"));
        let mut line_of_far = String::new();
        said.read_line(&mut line_of_far).expect("it says that it is connected");
        let near = python(PYTHON, "line").wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&near.stdout), "True\n");
        said.read_line(&mut line_of_far).expect("it says what it found");
        assert_eq!((line_of_far.as_str(), far.wait().expect("it ends").success()), ("connected\nTrue\n", true));
        let report = line.end();
        assert!(count(&report["terminal"]["opened"]) >= 1, "{report:#}");
        assert!(count(&report["recovery"]["rollbacks"]) > 20, "{report:#}");
    }

    #[test]
    fn picocom_passes_on_what_is_typed_and_shows_what_comes() {
        let mut line = Line::start(&["-v"]);
        let mut picocom = Command::new("picocom");
        picocom.args(["--quiet", "--baud", "57600", "--exit-after", "60000"]).arg(line.place.at("line"));
        picocom.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut picocom = picocom.spawn().expect("picocom (`cargo xtask setup`)");
        until("the line's rate", || line.run.stderr().contains("is set to 57600,8n1").then_some(()));
        let mut stdin = picocom.stdin.take().expect("it is piped");
        stdin.write_all(b"typed").expect("it reads");
        let mut typed = [0; 5];
        line.far.read_exact(&mut typed).expect("it arrives");
        assert_eq!(&typed, b"typed");
        line.far.write_all(b"shown").expect("QEMU takes it");
        let mut shown = [0; 5];
        picocom.stdout.take().expect("it is piped").read_exact(&mut shown).expect("it shows it");
        assert_eq!(&shown, b"shown");
        picocom.kill().expect("it runs");
        picocom.wait().expect("it ends");
        line.end();
    }
}
