//! A run of QEMU's `edu` that serves its driver's operations, and clients of it, good and bad.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nook_client::{CallError, Client, MOST_LINE_BYTES, Reason};
use serde_json::Value;
use support::{Ended, Place, Running, built};

/// How long a test waits for what is bound to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run that serves, and its socket.
struct Served {
    place: Place,
    run: Running,
    socket: PathBuf,
}

impl Served {
    fn start(more: &[&str]) -> Self {
        let place = Place::new();
        let edu = built("edu.wasm").to_str().expect("a test's paths are text").to_owned();
        let args = [edu.as_str(), "--qemu", "edu", "--serve", "edu.sock", "--json", "report.json"];
        let run = place.nook_run(args.iter().chain(more)).start();
        let socket = place.at("edu.sock");
        let since = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(since.elapsed() < PATIENCE, "nobody serves at {}", socket.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Served { place, run, socket }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).expect("it serves")
    }

    /// A connection for what no client would say.
    fn raw(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(&self.socket).expect("it serves");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        BufReader::new(stream)
    }

    /// Ends the run by a signal, and returns its end and its report.
    fn end(self) -> (Ended, Value) {
        self.run.signal(libc::SIGINT);
        let end = self.run.end();
        assert!(!self.socket.exists(), "the socket is left");
        let report = std::fs::read(self.place.at("report.json")).expect("a report");
        (end, serde_json::from_slice(&report).expect("JSON"))
    }
}

fn said(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("an answer");
    line
}

fn reason(outcome: Result<Vec<u8>, CallError>) -> (Reason, String) {
    match outcome {
        Err(CallError::Answered(reason, why)) => (reason, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_are_called_by_the_command_and_by_the_clients_in_rust_and_python() {
    let served = Served::start(&[]);
    let call = |args: &[&str]| served.place.nook_run([&["call", "edu.sock"], args].concat()).end();
    assert_eq!(call(&["factorial", "05000000"]).with(0).stdout, "78000000\n");
    assert_eq!(call(&["store", "20000000c0ffee"]).with(0).stdout, "-\n");
    assert_eq!(served.client().call("load", &[0x20, 0, 0, 0, 3, 0, 0, 0]).unwrap(), [0xc0, 0xff, 0xee]);
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../clients/python/nook_client.py");
    let output =
        Command::new("python3").arg("-B").arg(&python).arg(&served.socket).args(["identify"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ed000001\n", "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new("python3").arg("-B").arg(&python).arg(&served.socket).args(["nap"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && complaint.contains("invalid: the driver has no operation `nap`"),
        "{complaint}"
    );
    let mode = served.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (end, report) = served.end();
    end.with(0);
    assert_eq!(report["served"]["calls"], 5, "{report:#}");
}

#[test]
fn a_call_that_cannot_be_made_says_what_to_do() {
    let served = Served::start(&[]);
    let call = |args: &[&str], says: &str| {
        let end = served.place.nook_run([&["call"], args].concat()).end().with(1);
        assert!(end.stderr.contains(says), "{}", end.stderr);
    };
    call(&["none.sock", "identify"], "start `nook-run DRIVER --serve none.sock`");
    call(&["edu.sock", "nap"], "the driver has no operation `nap`; it has identify, invert, factorial, store, load");
    call(&["edu.sock", "invert", "0"], "`0` is not bytes in hexadecimal");
    call(&["edu.sock", "invert", "00"], "refused: the driver says: ");
    call(&["edu.sock", "store", &"00".repeat(2049)], "an operation takes at most 2048");
    call(&["edu.sock", "a b"], "is no name of an operation");
    let (.., report) = served.end();
    assert_eq!(report["fault_count"], 0, "{report:#}");
}

#[test]
fn what_is_no_call_is_refused_and_harms_nobody_else() {
    let served = Served::start(&[]);
    let mut good = served.client();
    let mut raw = served.raw();
    for line in ["\n", " 00\n", "factorial 5\n", "factorial  05000000\n", "\u{7f}\u{e9}\n", "GET / HTTP/1.1\n"] {
        raw.get_mut().write_all(line.as_bytes()).unwrap();
        let said = said(&mut raw);
        assert!(said.starts_with("invalid ") && said.ends_with('\n'), "{line:?}: {said:?}");
    }
    raw.get_mut().write_all(b"invert \xff\xfe\nidentify\n").unwrap();
    assert!(said(&mut raw).starts_with("invalid "));
    assert_eq!(said(&mut raw), "done ed000001\n", "the connection goes on");
    raw.get_mut().write_all(&[b'a'; MOST_LINE_BYTES]).unwrap();
    assert!(said(&mut raw).starts_with("invalid a call is a line of at most"));
    assert_eq!(raw.read(&mut [0]).unwrap(), 0, "it is closed");
    // Half a call, and gone; a call, and gone before its answer.
    served.raw().get_mut().write_all(b"fact").unwrap();
    served.raw().get_mut().write_all(b"factorial 05000000\n").unwrap();
    assert_eq!(good.call("invert", &[0, 0, 0, 0]).unwrap(), [0xff; 4]);
    let (.., report) = served.end();
    assert_eq!(report["fault_count"], 0, "{report:#}");
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_not_read_from() {
    let served = Served::start(&[]);
    let mut slow = served.raw();
    slow.get_ref().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let calls = format!("invert {}\n", "0".repeat(8)).repeat(1000);
    let mut sent = 0;
    // Until its own socket takes no more.
    while let Ok(written) = slow.get_mut().write(&calls.as_bytes()[sent % calls.len()..]) {
        sent += written;
        assert!(sent < 64 << 20, "a nook has taken {sent} bytes of calls whose answers nobody reads");
    }
    assert_eq!(served.client().call("factorial", &[6, 0, 0, 0]).unwrap(), 720u32.to_le_bytes());
    assert_eq!(said(&mut slow), "done ffffffff\n");
    served.end().0.with(0);
}

#[test]
fn who_never_stops_asking_nonsense_holds_up_nobody() {
    let served = Served::start(&[]);
    let noisy = UnixStream::connect(&served.socket).unwrap();
    let (mut asks, mut reads) = (noisy.try_clone().unwrap(), noisy.try_clone().unwrap());
    let asking = std::thread::spawn(move || while asks.write_all(&[b'\n'; 4096]).is_ok() {});
    let reading = std::thread::spawn(move || while reads.read(&mut [0; 65536]).is_ok_and(|read| read > 0) {});
    for _ in 0..20 {
        assert_eq!(served.client().call("invert", &[0; 4]).unwrap(), [0xff; 4]);
    }
    served.end().0.with(0);
    drop(noisy);
    asking.join().unwrap();
    reading.join().unwrap();
}

#[test]
fn more_clients_than_are_served_at_a_time_wait_for_their_turn() {
    let served = Served::start(&[]);
    let mut clients: Vec<_> = (0..80).map(|_| served.client()).collect();
    // The first 64 are served, in any order.
    for client in &mut clients[..64] {
        assert_eq!(client.call("identify", &[]).unwrap(), [0xed, 0, 0, 1]);
    }
    let late = clients.split_off(64);
    drop(clients);
    for mut client in late {
        assert_eq!(client.call("identify", &[]).unwrap(), [0xed, 0, 0, 1]);
    }
    served.end().0.with(0);
}

#[test]
fn what_a_driver_had_accepted_when_it_ended_is_lost_and_the_next_call_is_done() {
    // The interrupt would have completed it.
    let served = Served::start(&["--isolation", "sfi", "--crash-at", "irq:1"]);
    let mut client = served.client();
    let (found, why) = reason(client.call("factorial", &[5, 0, 0, 0]));
    assert!(found == Reason::Lost && why.contains("whether it was done is not known"), "{found}: {why}");
    assert_eq!(client.call("factorial", &[5, 0, 0, 0]).unwrap(), 120u32.to_le_bytes());
    let (.., report) = served.end();
    assert_eq!((&report["recovery"]["restarts"], &report["served"]["calls"]), (&1.into(), &2.into()), "{report:#}");
}

#[test]
fn a_call_that_is_rolled_back_is_made_again_and_nobody_notices() {
    let served = Served::start(&["--isolation", "sfi+txn", "--crash-at", "irq:1"]);
    assert_eq!(served.client().call("factorial", &[5, 0, 0, 0]).unwrap(), 120u32.to_le_bytes());
    let (.., report) = served.end();
    assert_eq!(report["recovery"]["rollbacks"], 1, "{report:#}");
}

#[test]
fn clients_of_a_driver_in_quarantine_are_answered_and_the_run_ends() {
    let place = Place::new();
    place.file("policy.toml", "[restart]\nbudget = 0\n");
    let policy = place.at("policy.toml");
    let policy = policy.to_str().expect("a test's paths are text");
    let served = Served::start(&["--isolation", "sfi", "--crash-at", "invoke:1", "--policy", policy]);
    let (found, why) = reason(served.client().call("identify", &[]));
    assert!(
        found == Reason::Ended && why.contains("the driver is in quarantine") && why.ends_with("it was not done"),
        "{found}: {why}"
    );
    let Served { run, socket, .. } = served;
    run.end().with(4);
    assert!(!socket.exists() && matches!(Client::connect(&socket), Err(CallError::NotServed(..))));
}

#[test]
fn a_socket_that_cannot_be_made_ends_the_run_before_its_device_is_touched() {
    let served = Served::start(&[]);
    let edu = built("edu.wasm").to_str().expect("a test's paths are text").to_owned();
    served.place.file("file", "content");
    for (path, says) in [
        ("edu.sock", "another process listens there"),
        ("file", "it is no socket: choose another name"),
        ("none/edu.sock", "No such file"),
    ] {
        let end = served.place.nook_run([edu.as_str(), "--qemu", "edu", "--serve", path]).end().with(1);
        assert!(end.stderr.contains("--serve") && end.stderr.contains(says), "{}", end.stderr);
    }
    assert_eq!(std::fs::read(served.place.at("file")).unwrap(), b"content");
    served.end().0.with(0);
}
