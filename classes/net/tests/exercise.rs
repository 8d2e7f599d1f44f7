//! The in-process host and the peer, joined by a cable in memory on which time passes as the test likes.

use std::time::Duration;

use nook_bus::VolatileSlice;
use nook_net::{ExerciseReport, IpHost, IpHostConfig, Peer, PeerConfig, PingPlan, Plan, RrPlan, TcpPlan};
use nook_net_api::{NetBackend, Outgoing, Room, Wire};
use nook_seed::Rng;

/// How long the cable takes, each way.
const DELAY_NS: u64 = 50_000;

/// What the cable does to frames: of 1,000, this many are lost.
struct Cable {
    rng: Rng,
    lost_per_mille: u64,
    frames: u64,
    lost: u64,
}

impl Cable {
    fn new(lost_per_mille: u64) -> Self {
        Cable { rng: Rng::new(0x5eed), lost_per_mille, frames: 0, lost: 0 }
    }

    fn passes(&mut self) -> bool {
        self.frames += 1;
        let passes = self.rng.below(1000) >= self.lost_per_mille;
        self.lost += u64::from(!passes);
        passes
    }
}

/// Runs the exercise to its end, in made-up time.
fn run(host: &mut IpHost, peer: &mut dyn Wire, cable: &mut Cable) -> ExerciseReport {
    let mut now_ns = 1_000_000_000;
    let mut buffer = vec![0; 2048];
    host.set_mac([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]).expect("an address");
    host.link(true).expect("the link");
    let mut idle_rounds = 0;
    while !host.finished() {
        let host_due = host.service(now_ns).expect("the host works");
        let mut moved = false;
        while let Some(Outgoing { len_bytes: len, .. }) =
            host.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("a frame from the host")
        {
            moved = true;
            if cable.passes() {
                peer.send(&buffer[..len]).expect("the peer takes frames");
            }
        }
        let peer_due = peer.due_ns(now_ns);
        while let Some(len) = peer.recv(&mut buffer).expect("a frame from the peer") {
            moved = true;
            if cable.passes() {
                let frame = VolatileSlice::from(&mut buffer[..len]);
                host.deliver(frame.into()).expect("the host takes frames");
            }
        }
        idle_rounds = if moved { 0 } else { idle_rounds + 1 };
        assert!(idle_rounds < 1000, "nothing moves any more");
        let due = if moved { None } else { host_due.into_iter().chain(peer_due).min() };
        now_ns = due.unwrap_or(0).max(now_ns + DELAY_NS);
    }
    host.report().clone()
}

fn exercise(plan: Plan, lost_per_mille: u64) -> (ExerciseReport, Cable) {
    let (mut host, mut peer) = (IpHost::new(IpHostConfig::default()), Peer::new(PeerConfig::default()));
    let mut cable = Cable::new(lost_per_mille);
    host.start(plan);
    let report = run(&mut host, &mut peer, &mut cable);
    (report, cable)
}

#[test]
fn on_a_good_cable_every_ping_is_answered() {
    let (report, _) = exercise(Plan { ping: Some(PingPlan::default()), ..Plan::default() }, 0);
    let ping = report.ping.expect("a report of pings");
    assert_eq!((ping.sent, ping.received), (100, 100));
    assert!(ping.min_ns > 0 && ping.min_ns <= ping.p50_ns && ping.p99_ns <= ping.max_ns, "{ping:?}");
    assert_eq!(report.error, None);
}

#[test]
fn on_a_bad_cable_lost_pings_are_counted_as_lost() {
    let (report, _) = exercise(Plan { ping: Some(PingPlan { count: 500 }), ..Plan::default() }, 100);
    let ping = report.ping.expect("a report of pings");
    assert_eq!(ping.sent, 500);
    // A request and its answer both get through in 81 of 100.
    assert!((350..450).contains(&ping.received), "{ping:?}");
}

#[test]
fn streams_arrive_whole_both_ways_without_retransmission() {
    let plan = Plan { tcp: Some(TcpPlan { bytes: 16 << 20, ..TcpPlan::default() }), ..Plan::default() };
    let (report, _) = exercise(plan, 0);
    let tcp = report.tcp.expect("a report of streams");
    assert!(tcp.hash_ok);
    assert_eq!(tcp.bytes, 32 << 20);
    assert_eq!(tcp.retransmissions, 0);
    assert!(tcp.bits_per_second > 0);
    let (upload, download) = (tcp.upload.expect("up"), tcp.download.expect("down"));
    assert_eq!((upload.bytes, download.bytes), (16 << 20, 16 << 20));
    assert_eq!(upload.sha256, download.sha256, "generated streams of one length are the same");
}

#[test]
fn on_a_cable_that_loses_one_in_a_hundred_streams_arrive_whole_after_retransmissions() {
    let plan = Plan { tcp: Some(TcpPlan { bytes: 4 << 20, ..TcpPlan::default() }), ..Plan::default() };
    let (report, cable) = exercise(plan, 10);
    let tcp = report.tcp.expect("a report of streams");
    assert!(tcp.hash_ok, "{:?}", report.error);
    assert!(cable.lost > 0);
    let (upload, download) = (tcp.upload.expect("up"), tcp.download.expect("down"));
    assert!(upload.retransmissions > 0 && download.retransmissions > 0, "{upload:?} {download:?}");
}

#[test]
fn streams_go_on_until_their_time_is_over() {
    let at_least = Duration::from_millis(20);
    let tcp = TcpPlan { bytes: 1 << 20, at_least, upload: true, download: false };
    let (report, _) = exercise(Plan { tcp: Some(tcp), ..Plan::default() }, 0);
    let upload = report.tcp.and_then(|tcp| tcp.upload).expect("a report of streams");
    assert!(upload.streams > 1 && upload.hash_ok);
    assert_eq!(upload.bytes, upload.streams << 20);
}

#[test]
fn every_request_over_udp_gets_its_response() {
    let (report, _) = exercise(Plan { rr: Some(RrPlan::default()), ..Plan::default() }, 0);
    let rr = report.rr.expect("a report of requests");
    assert_eq!((rr.requests, rr.lost), (1000, 0));
    assert!(rr.p50_ns > 0 && rr.p50_ns <= rr.p99_ns && rr.requests_per_second > 0, "{rr:?}");
}

#[test]
fn on_a_bad_cable_lost_requests_are_counted_as_lost() {
    let (report, _) =
        exercise(Plan { rr: Some(RrPlan { requests: 500, ..RrPlan::default() }), ..Plan::default() }, 100);
    let rr = report.rr.expect("a report of requests");
    assert_eq!(rr.requests, 500);
    // A request and its response both get through in 81 of 100.
    assert!((50..150).contains(&rr.lost), "{rr:?}");
}

#[test]
fn all_three_parts_run_one_after_the_other() {
    let plan = Plan {
        ping: Some(PingPlan { count: 10 }),
        tcp: Some(TcpPlan { bytes: 1 << 20, ..TcpPlan::default() }),
        rr: Some(RrPlan { requests: 10, at_least: Duration::ZERO }),
        ..Plan::default()
    };
    let (report, _) = exercise(plan, 0);
    assert!(report.ping.is_some() && report.tcp.is_some() && report.rr.is_some());
    assert_eq!(report.error, None);
}

#[test]
fn when_nobody_answers_the_report_says_so() {
    let target = "10.0.2.77".parse().expect("an address");
    let plan = Plan { target, ping: Some(PingPlan::default()), rr: Some(RrPlan::default()), ..Plan::default() };
    let (report, _) = exercise(plan, 0);
    assert_eq!(report.ping.map(|ping| ping.received), Some(0));
    assert!(report.error.expect("an error").contains("10.0.2.77"));
    assert_eq!(report.rr, None, "what comes after is not tried");
}

#[test]
fn when_nobody_listens_the_report_says_so() {
    let plan = Plan { port: 9, tcp: Some(TcpPlan::default()), ..Plan::default() };
    let (report, _) = exercise(plan, 0);
    assert!(report.error.expect("an error").contains("nobody listens"));
    assert!(!report.tcp.expect("a report of streams").hash_ok);
}

#[test]
fn one_peer_serves_many_connections_one_after_the_other() {
    let (mut host, mut peer) = (IpHost::new(IpHostConfig::default()), Peer::new(PeerConfig::default()));
    let mut cable = Cable::new(0);
    for _ in 0..12 {
        let tcp = TcpPlan { bytes: 10_000, ..TcpPlan::default() };
        host.start(Plan { tcp: Some(tcp), ..Plan::default() });
        let report = run(&mut host, &mut peer, &mut cable);
        assert!(report.tcp.expect("a report of streams").hash_ok, "{:?}", report.error);
    }
}

#[test]
fn a_multicast_address_from_the_driver_is_refused_with_a_message() {
    let mut host = IpHost::new(IpHostConfig::default());
    let error = host.set_mac([0x01, 0, 0x5e, 0, 0, 1]).expect_err("a multicast address");
    assert!(error.to_string().contains("01:00:5e:00:00:01"));
}

#[test]
fn a_host_without_a_link_sends_nothing_and_wants_nothing() {
    let mut host = IpHost::new(IpHostConfig::default());
    host.start(Plan { ping: Some(PingPlan::default()), ..Plan::default() });
    assert_eq!(host.service(1_000_000_000).expect("it works"), None);
    let mut buffer = [0; 2048];
    assert!(host.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("it works").is_none());
}

#[test]
fn the_report_has_the_fields_that_its_readers_look_for() {
    let plan = Plan {
        ping: Some(PingPlan { count: 1 }),
        tcp: Some(TcpPlan { bytes: 1000, ..TcpPlan::default() }),
        rr: Some(RrPlan { requests: 1, at_least: Duration::ZERO }),
        ..Plan::default()
    };
    let (report, _) = exercise(plan, 0);
    let json = serde_json::to_value(&report).expect("it can be written as JSON");
    for pointer in [
        "/ping/sent",
        "/ping/received",
        "/ping/p50_ns",
        "/ping/p99_ns",
        "/tcp/bits_per_second",
        "/tcp/hash_ok",
        "/tcp/retransmissions",
        "/tcp/bytes",
        "/tcp/download/sha256",
        "/rr/p50_ns",
        "/rr/p99_ns",
        "/rr/requests",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer} is missing in {json}");
    }
    assert_eq!(report.to_string().lines().count(), 4);
}
