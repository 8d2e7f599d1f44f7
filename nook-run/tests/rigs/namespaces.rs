//! TAP ⇄ driver ⇄ model ⇄ TAP, between two network namespaces of the test's own. `NOOK_LONG=1` takes ten seconds for
//! each stream instead of two.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nook_tests::namespaces::{Between, inside, run, within};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::command::{driver, is_other};

fn start(options: &[&str], report: &Path) -> Between {
    let nook_run = Path::new(env!("CARGO_BIN_EXE_nook-run"));
    let started = Between::start(nook_run, &driver(), |command| {
        command.args(options).arg("--json").arg(report);
    });
    started.unwrap_or_else(|error| panic!("{options:?}: {error}"))
}

fn output(between: &Between, program: &str, args: &[&str]) -> String {
    let output = run(within(&between.names().near, program).args(args)).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stream(between: &Between, extra: &[&str]) -> Value {
    let seconds = if std::env::var_os("NOOK_LONG").is_some() { "10" } else { "2" };
    between.iperf3(&[&["-t", seconds], extra].concat()).unwrap()
}

fn rate(report: &Value) -> f64 {
    report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap()
}

/// Returns how many datagrams the kernel's sockets at the far end had no room for.
fn dropped_by_the_receiver(between: &Between) -> u64 {
    let table = run(within(&between.names().far, "cat").arg("/proc/net/snmp")).unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let [names, values] = [lines.next().unwrap(), lines.next().unwrap()].map(str::split_whitespace);
    let (_, dropped) = names.zip(values).find(|&(name, _)| name == "RcvbufErrors").unwrap();
    dropped.parse().unwrap()
}

struct Figures {
    out: f64,
    back: f64,
}

fn carry(isolation: &str) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let between = start(&["--isolation", isolation], &folder.path().join("report.json"));
    let flood = output(&between, "ping", &["-f", "-q", "-c", "10000", Between::FAR]);
    assert!(flood.contains("10000 received"), "{isolation}: {flood}");
    // 1,000 datagrams of 1,000 bytes a second.
    let udp = stream(&between, &["-u", "-b", "8M", "-l", "1000"]);
    // On a busy machine the server may be late, and its socket full: what is dropped there has come all the way.
    let sum = &udp["end"]["sum"];
    assert_eq!(sum["lost_packets"], dropped_by_the_receiver(&between), "{isolation}: {sum}");
    Figures { out: rate(&stream(&between, &[])), back: rate(&stream(&between, &["-R"])) }
}

#[test]
#[ignore = "needs root"]
fn a_driver_between_two_namespaces_loses_nothing() {
    let levels = if is_other() { ["sfi+txn", "sfi"] } else { ["sfi", "native"] };
    let figures = levels.map(carry);
    println!("TCP, Mbit/s      out      back");
    for (name, figures) in levels.iter().zip(&figures) {
        println!("{name:<12} {:>8.0} {:>9.0}", figures.out / 1e6, figures.back / 1e6);
    }
    let [of, to] = figures;
    println!("ratio        {:>8.2} {:>9.2}", of.out / to.out, of.back / to.back);
}

const CONTENT_BYTES: usize = 32 << 20;
const PORT: u16 = 7011;

/// Sends what no hash would forgive if it were moved or repeated through one connection, and has it come back through
/// the same. Returns whether the hashes of what left and of what came back are the same.
fn comes_back_as_it_left(between: &Between) -> bool {
    stream_comes_back(between, Between::FAR)
}

/// The same between the two kernels, to this address of the far one.
pub fn stream_comes_back(between: &Between, address: &str) -> bool {
    let content: Vec<u8> =
        (0..CONTENT_BYTES as u64 / 8).flat_map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let listener = inside(&between.names().far, || TcpListener::bind((address, PORT))).unwrap();
    let client = inside(&between.names().near, || TcpStream::connect((address, PORT))).unwrap();
    let (server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::copy(&mut (&server).take(CONTENT_BYTES as u64), &mut &server).unwrap());
        scope.spawn(|| (&client).write_all(&content).unwrap());
        let (mut hash, mut piece, mut come) = (Sha256::new(), vec![0; 1 << 16], 0);
        while come < CONTENT_BYTES {
            let len = (&client).read(&mut piece).unwrap();
            assert!(len > 0, "the connection ended after {come} bytes");
            hash.update(&piece[..len]);
            come += len;
        }
        hash.finalize() == Sha256::digest(&content)
    })
}

/// A driver that crashes all the time and comes back as the policy has it, in the way that the report counts under
/// `way`: one connection goes on, and what it carries is what was sent.
fn a_connection_survives(options: &[&str], policy: &str, way: &str) {
    // Another driver may take most of a second to come back: some read their card's EEPROM bit by bit.
    let (every, least) = if is_other() && way == "restarts" { ("3s", 0) } else { ("50ms", 10) };
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("policy.toml"), folder.path().join("report.json"));
    std::fs::write(&file, format!("[bundles]\nkeep = 0\n{policy}")).unwrap();
    let options = [&["--calm", "--crash-every", every, "--policy", file.to_str().unwrap()], options].concat();
    let between = start(&options, &report);
    let (out, back) = (rate(&stream(&between, &[])), rate(&stream(&between, &["-R"])));
    assert!(comes_back_as_it_left(&between), "{way}");
    between.end();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let (faults, mended) = (report["fault_count"].as_u64().unwrap(), report["recovery"][way].as_u64().unwrap());
    println!("{way}: {mended} of {faults} faults; {:.0} Mbit/s out, {:.0} back", out / 1e6, back / 1e6);
    assert!(faults > least && mended > 0, "{way}: {report}");
    assert!(report["faults"].as_array().unwrap().iter().all(|fault| fault["fault"].to_string().contains("on request")));
}

#[test]
#[ignore = "needs root"]
fn a_connection_survives_a_driver_whose_calls_are_rolled_back() {
    a_connection_survives(&[], "", "rollbacks");
}

#[test]
#[ignore = "needs root"]
fn a_connection_survives_a_driver_that_is_restored_to_a_snapshot() {
    let policy = "[rollback]\nenabled = false\n[restart]\nwindow = \"1ms\"\nbudget = 100000\n\
                  [snapshots]\nevery = \"100ms\"\n";
    a_connection_survives(&[], policy, "snapshot_restores");
}

#[test]
#[ignore = "needs root"]
fn a_connection_survives_a_driver_that_is_restarted() {
    let policy = "[restart]\nbudget = 1000000\nbackoff_first = \"1us\"\nbackoff_most = \"1us\"\n";
    a_connection_survives(&["--isolation", "sfi"], policy, "restarts");
}

#[test]
#[ignore = "needs root"]
fn a_run_under_iperf3_with_crashes_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, report) = (folder.path().join("run.rec"), folder.path().join("report.json"));
    let options = ["--calm", "--crash-every", "50ms", "--record", recording.to_str().unwrap()];
    let between = start(&options, &report);
    let (out, back) = (rate(&stream(&between, &[])), rate(&stream(&between, &["-R"])));
    between.end();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let faults = report["fault_count"].as_u64().unwrap();
    assert!(faults >= 20 && out > 0.0 && back > 0.0, "{report}");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_nook-run"));
    let ended = replay.arg("replay").arg(&recording).arg(driver()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    println!("{faults} faults, {:.0} Mbit/s out, {:.0} back: {said}", out / 1e6, back / 1e6);
    assert!(ended.status.success() && said.contains("the same to its end: "), "{said}");
    let rolled_back = format!(", {} rollbacks, ", report["recovery"]["rollbacks"]);
    assert!(said.contains(&rolled_back), "{said}: {}", report["recovery"]);
}

/// Sets the MTU of both ends.
fn set_mtu(between: &Between, mtu: &str) {
    for (namespace, interface) in [(&between.names().near, "nook0"), (&between.names().far, "nook1")] {
        run(within(namespace, "ip").args(["link", "set", interface, "mtu", mtu])).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn connections_use_a_long_mtu_with_the_cards_offloads_and_without_and_across_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("policy.toml"), folder.path().join("report.json"));
    for (policy, options, mtu) in [
        ("", &[][..], "9000"),
        ("[net]\noffloads = \"host\"\nchecksums = \"host\"\n", &[], "9000"),
        ("[bundles]\nkeep = 0\n", &["--crash-every", "50ms"], "9000"),
        ("", &[], "1600"),
    ] {
        std::fs::write(&file, policy).unwrap();
        let between = start(&[&["--policy", file.to_str().unwrap()], options].concat(), &report);
        set_mtu(&between, mtu);
        assert!(comes_back_as_it_left(&between), "{policy}");
        let (out, back) = (rate(&stream(&between, &[])), rate(&stream(&between, &["-R"])));
        println!("MTU {mtu}, {policy:?}, {options:?}: {:.0} Mbit/s out, {:.0} back", out / 1e6, back / 1e6);
        between.end();
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        let (counters, card) = (&report["counters"], &report["device_counters"]);
        assert_eq!((&counters["tx_unfit"], &counters["rx_failed"]), (&0.into(), &0.into()), "{counters}");
        let longest = card["rx_bytes"].as_u64().unwrap() / card["rx_packets"].as_u64().unwrap().max(1);
        assert!(mtu == "1600" || !options.is_empty() || longest > 3000, "frames of {longest} bytes: {card}");
    }
}

#[test]
#[ignore = "needs root"]
fn what_the_card_can_do_is_left_to_it_unless_the_operator_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("policy.toml"), folder.path().join("report.json"));
    for (policy, leaves, believes) in [("", true, true), ("offloads = \"host\"\nchecksums = \"host\"", false, false)] {
        std::fs::write(&file, format!("[net]\n{policy}")).unwrap();
        let between = start(&["--policy", file.to_str().unwrap()], &report);
        assert!(comes_back_as_it_left(&between), "{policy}");
        between.end();
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        let counters = &report["counters"];
        let count = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("{name}: {counters}"));
        // A driver that says nothing leaves all to the host.
        assert!(is_other() || (count("tx_segmented") > 0) == leaves, "{policy}: {counters}");
        assert!(is_other() || (count("tx_checksums") > 0) == leaves, "{policy}: {counters}");
        assert!(is_other() || (count("rx_checked") > 0) == believes, "{policy}: {counters}");
        assert_eq!((count("tx_unfit"), count("tx_failed"), count("ends")), (0, 0, 0), "{policy}: {counters}");
    }
}
