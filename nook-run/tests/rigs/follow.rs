//! What is set on either interface of a cable between two kernels is followed, and what is lost is counted.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use nook_tests::namespaces::{Between, Counter, counter, inside, run, within};
use serde_json::Value;
use tempfile::TempDir;

use crate::command::driver;

/// A cable between two kernels, and what `nook-run` says of it.
struct Cable {
    between: Between,
    folder: TempDir,
}

impl Cable {
    fn new(options: &[&str]) -> Cable {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let nook_run = Path::new(env!("CARGO_BIN_EXE_nook-run"));
        let between = Between::start(nook_run, &driver(), |command| {
            let report = folder.path().join("report.json");
            command.args(options).arg("--json").arg(report).env("NO_COLOR", "1").stderr(Stdio::from(log));
        });
        let between = between.unwrap_or_else(|error| {
            panic!("{options:?}: {error}\n{}", fs::read_to_string(folder.path().join("log")).unwrap_or_default())
        });
        Cable { between, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn near(&self, command: &str) -> String {
        self.output(&self.between.names().near, command)
    }

    fn far(&self, command: &str) -> String {
        self.output(&self.between.names().far, command)
    }

    fn output(&self, namespace: &str, command: &str) -> String {
        let mut words = command.split(' ');
        let output =
            run(within(namespace, words.next().unwrap()).args(words)).unwrap_or_else(|error| panic!("{error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until one echo of this size is answered, from the far end to this address.
    fn until_the_far_end_reaches(&mut self, address: &str, bytes: u32) {
        let ping = |between: &Between| {
            let mut ping = within(&between.names().far, "ping");
            ping.args(["-c", "1", "-W", "1", "-s", &bytes.to_string(), address]);
            ping.output().is_ok_and(|it| it.status.success())
        };
        let outcome = self.between.until(&format!("{address} answers {bytes} bytes"), ping);
        outcome.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    fn until_logged(&mut self, text: &str) {
        let log = self.folder.path().join("log");
        let outcome = self.between.until(text, |_| fs::read_to_string(&log).is_ok_and(|log| log.contains(text)));
        outcome.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    /// Ends `nook-run` and returns its report.
    fn end(self) -> Value {
        self.between.end();
        serde_json::from_slice(&fs::read(self.folder.path().join("report.json")).unwrap()).unwrap()
    }
}

#[test]
#[ignore = "needs root"]
fn another_address_is_the_drivers_too_and_restarts_leave_it() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    let restarts =
        "[bundles]\nkeep = 0\n[restart]\nbudget = 1000000\nbackoff_first = \"1us\"\nbackoff_most = \"1us\"\n";
    fs::write(policy.path(), restarts).unwrap();
    let options = ["--isolation", "sfi", "--calm", "--crash-every", "1s", "--policy", policy.path().to_str().unwrap()];
    let mut cable = Cable::new(&options);
    cable.near("ip link set nook0 address 02:00:00:00:00:77");
    cable.far("ip neigh flush dev nook1");
    cable.until_the_far_end_reaches(Between::NEAR, 56);
    let restarted = "the driver was restarted";
    let before = cable.log().matches(restarted).count();
    let log = cable.folder.path().join("log");
    let again = |_: &Between| fs::read_to_string(&log).is_ok_and(|log| log.matches(restarted).count() > before + 1);
    let outcome = cable.between.until("the driver is restarted twice", again);
    outcome.unwrap_or_else(|error| panic!("{error}\n{}", cable.log()));
    assert!(cable.near("ip link show nook0").contains("02:00:00:00:00:77"));
    cable.until_the_far_end_reaches(Between::NEAR, 56);
    assert!(cable.far("ip neigh show dev nook1").contains("02:00:00:00:00:77"));
    let report = cable.end();
    assert!(report["recovery"]["restarts"].as_u64().unwrap() > 1, "{report}");
}

#[test]
#[ignore = "needs root"]
fn a_bridge_above_the_interface_gets_what_is_for_others() {
    let mut cable = Cable::new(&[]);
    for command in [
        "ip link add br0 address 02:00:00:00:00:55 type bridge",
        "ip addr flush dev nook0",
        "ip link set nook0 master br0",
        "ip addr add 10.99.0.5/24 dev br0",
        "ip link set br0 up",
    ] {
        cable.near(command);
    }
    cable.until_the_far_end_reaches("10.99.0.5", 56);
    assert!(cable.far("ip neigh show dev nook1").contains("02:00:00:00:00:55"));
    cable.end();
}

#[test]
#[ignore = "needs root"]
fn an_mtu_that_the_driver_cannot_do_is_set_back_each_time_and_said() {
    let mut cable = Cable::new(&[]);
    for mtu in [16_107, 65_000] {
        cable.near(&format!("ip link set nook0 mtu {mtu}"));
        cable.until_logged(&format!("MTU was set to {mtu} bytes, and the driver's is 16106 at most"));
        assert!(cable.near("ip link show nook0").contains("mtu 16106"));
        cable.until_the_far_end_reaches(Between::NEAR, 4000);
    }
    let report = cable.end();
    assert_eq!(report["counters"]["tx_unfit"], 0, "{report}");
}

#[test]
#[ignore = "needs root"]
fn an_mtu_that_the_driver_can_do_is_followed_and_full_frames_pass() {
    let mut cable = Cable::new(&[]);
    for mtu in [9000, 1600, 16_106] {
        cable.near(&format!("ip link set nook0 mtu {mtu}"));
        cable.far(&format!("ip link set nook1 mtu {mtu}"));
        cable.until_the_far_end_reaches(Between::NEAR, 56);
        let whole = (mtu - 28).to_string();
        let pings = cable.near(&format!("ping -c 20 -i 0.01 -M do -s {whole} {}", Between::FAR));
        assert!(pings.contains("20 received"), "{mtu}: {pings}\n{}", cable.log());
    }
    let report = cable.end();
    assert_eq!(report["counters"]["rx_failed"], 0, "{report}");
    assert_eq!(report["device_counters"]["rx_length_errors"], 0, "{report}");
}

#[test]
#[ignore = "needs root"]
fn an_mtu_of_the_far_end_that_is_too_large_loses_nothing_uncounted() {
    let mut cable = Cable::new(&[]);
    cable.far("ip link set nook1 mtu 9000");
    let mut ping = within(&cable.between.names().far, "ping");
    let lost = ping.args(["-c", "3", "-i", "0.2", "-W", "1", "-s", "8000", Between::NEAR]).output().unwrap();
    assert!(String::from_utf8_lossy(&lost.stdout).contains("0 received"));
    cable.until_the_far_end_reaches(Between::NEAR, 56);
    let report = cable.end();
    assert!(report["device_counters"]["rx_length_errors"].as_u64().unwrap() >= 3, "{report}");
}

#[test]
#[ignore = "needs root"]
fn a_group_is_received_while_a_program_listens_to_it() {
    let mut cable = Cable::new(&[]);
    // A group that nobody joined passes no filter; the far end asks with an echo to all who listen.
    cable.near("sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0");
    cable.near("ip addr add 239.127.16.32/32 dev nook0 autojoin");
    cable.far("ip route add 239.0.0.0/8 dev nook1");
    cable.until_the_far_end_reaches("239.127.16.32", 56);
    cable.end();
}

#[test]
#[ignore = "needs root"]
fn the_interface_has_a_carrier_while_the_far_end_is_up() {
    let mut cable = Cable::new(&[]);
    let shows = |between: &Between, text: &str| {
        let mut ip = Command::new("ip");
        ip.args(["-n", &between.names().near, "link", "show", "nook0"]);
        ip.output().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(text))
    };
    for (command, shown) in [("ip link set nook1 down", "NO-CARRIER"), ("ip link set nook1 up", "LOWER_UP")] {
        cable.far(command);
        cable.between.until(shown, |between| shows(between, shown)).unwrap();
    }
    cable.until_the_far_end_reaches(Between::NEAR, 56);
    let report = cable.end();
    assert!(report["cable"]["lost"].is_u64(), "{report}");
}

#[test]
#[ignore = "needs root"]
fn a_cable_whose_far_end_is_removed_ends_the_run_with_the_reason() {
    let mut cable = Cable::new(&[]);
    cable.far("ip link del nook1");
    let status = cable.between.wait_for_the_end().unwrap();
    assert_eq!(status, Some(1), "{}", cable.log());
    assert!(cable.log().contains("--wire: the TAP interface at the cable's far end was removed"), "{}", cable.log());
    let report = cable.end();
    assert_eq!(report["ended"], "--wire: the TAP interface at the cable's far end was removed");
}

#[test]
#[ignore = "needs root"]
fn of_more_datagrams_than_can_be_carried_each_arrives_or_is_counted() {
    const OFFERED: u64 = 200_000;
    let mut cable = Cable::new(&[]);
    let socket = inside(&cable.between.names().near, || UdpSocket::bind((Between::NEAR, 0))).unwrap();
    // Nobody reads them; a port without a socket would be answered.
    let _sink = inside(&cable.between.names().far, || UdpSocket::bind((Between::FAR, 7009))).unwrap();
    for _ in 0..OFFERED {
        socket.send_to(&[0; 100], (Between::FAR, 7009)).unwrap();
    }
    let near = |between: &Between, which| counter(&between.names().near, "nook0", which).unwrap();
    let far = |between: &Between, which| counter(&between.names().far, "nook1", which).unwrap();
    let (mut last, mut same) = (0, 0);
    let settles = |between: &Between| {
        let now = near(between, Counter::TxPackets) + far(between, Counter::RxPackets);
        same = if now == std::mem::replace(&mut last, now) { same + 1 } else { 0 };
        same == 20
    };
    cable.between.until("nothing moves", settles).unwrap();
    let [taken, refused] = [Counter::TxPackets, Counter::TxDrop].map(|which| near(&cable.between, which));
    let arrived = far(&cable.between, Counter::RxPackets) + far(&cable.between, Counter::RxDrop);
    let report = cable.end();
    let count = |name: &str| report["counters"][name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
    let counted: u64 = ["tx_unfit", "tx_failed", "tx_dropped", "tx_poison", "tx_given_up"].map(count).iter().sum();
    let counted = counted + report["cable"]["lost"].as_u64().unwrap();
    assert_eq!(taken, arrived + counted, "{report}");
    assert!(taken + refused >= OFFERED && arrived > 0, "{taken} taken, {refused} refused, {arrived} arrived");
}
