//! VLAN tags pass in band, with all that is left to the card.

use std::path::Path;

use nook_tests::Tagger;
use nook_tests::namespaces::{Between, inside, run, within};
use serde_json::Value;

use crate::command::{driver, is_other};
use crate::namespaces::stream_comes_back;

const NEAR: &str = "10.88.0.1";
const FAR: &str = "10.88.0.2";
/// Priority 5 and VLAN 7.
const TAG: u16 = 5 << 13 | 7;

/// Makes the interface `inner` above `outer` in a namespace, with its address and MTU.
fn above(namespace: &str, [inner, outer]: [&str; 2], address: &str, mtu: &str) -> Tagger {
    let ip = |args: &str| {
        let output = run(within(namespace, "ip").args(args.split(' '))).unwrap_or_else(|error| panic!("{error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ip(&format!("link set {outer} mtu {mtu}"));
    let link = ip(&format!("-o link show {outer}"));
    let mac = link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next()).expect("an address");
    let tagger = inside(namespace, || Tagger::new(inner, outer, TAG)).unwrap();
    // What comes for it passes the card's filter.
    ip(&format!("link set {inner} address {mac} mtu {mtu} up"));
    ip(&format!("addr add {address}/24 dev {inner}"));
    tagger
}

#[test]
#[ignore = "needs root"]
fn a_connection_in_a_vlan_comes_back_as_it_left_with_the_cards_offloads_and_long_frames() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    for mtu in ["1500", "9000"] {
        let nook_run = Path::new(env!("CARGO_BIN_EXE_nook-run"));
        let between = Between::start(nook_run, &driver(), |command| {
            command.arg("--json").arg(&report);
        });
        let between = between.unwrap_or_else(|error| panic!("{error}"));
        let names = between.names();
        let taggers =
            [above(&names.near, ["inner0", "nook0"], NEAR, mtu), above(&names.far, ["inner1", "nook1"], FAR, mtu)];
        let whole = (mtu.parse::<u32>().unwrap() - 28).to_string();
        let ping = run(within(&names.near, "ping").args(["-c", "5", "-i", "0.1", "-M", "do", "-s", &whole, FAR]));
        let ping = ping.unwrap_or_else(|error| panic!("MTU {mtu}: {error}"));
        assert!(String::from_utf8_lossy(&ping.stdout).contains("5 received"), "MTU {mtu}");
        assert!(stream_comes_back(&between, FAR), "MTU {mtu}");
        let came = taggers.each_ref().map(Tagger::came);
        println!("MTU {mtu}: packets with the tag, and merged ones, near and far: {came:?}");
        // Segments of one connection go up as one packet, tag and all.
        assert!(came[0].1 > 10, "MTU {mtu}: {came:?}");
        drop(taggers);
        between.end();
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        let counters = &report["counters"];
        let count = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("{name}: {counters}"));
        assert!(is_other() || count("tx_segmented") > 10, "the card cut packets behind a tag: {counters}");
        assert!(is_other() || count("rx_checked") > 10, "the card looked at frames behind a tag: {counters}");
        assert_eq!((count("tx_unfit"), count("tx_failed"), count("rx_failed")), (0, 0, 0), "{counters}");
    }
}
