//! More than an interface can carry: datagrams offered at half to three times the rate that it reaches, and what of
//! them arrives. A system that collapses under load delivers less the more is offered (Mogul and Ramakrishnan, 1996);
//! one that is to be left running delivers what it can, and counts the rest.

use std::io::{Error, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nook_tests::namespaces::{Between, Counter, counter, inside};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::session::Session;
use super::{Plan, Programs};
use crate::Report;
use crate::cpus::{self, Awake, Processors};
use crate::levels::{Level, NATIVE, SFI_TXN};
use crate::sample::{Estimate, orders};

/// What it is called where something was left out.
pub const NAME: &str = "more datagrams than can be carried";
/// Datagrams go there, and nobody reads them.
const PORT: u16 = 7009;
/// Bytes in a datagram: as many as a request of the experiment has.
const PAYLOAD_BYTES: usize = 100;
/// Datagrams in one system call; the kernel cuts them apart before they come to an interface without that offload.
const IN_A_CALL: usize = 16;
/// What is offered, over what can be carried.
const SHARES: [f64; 9] = [0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0];
/// The rate at which looking for the greatest one begins, in datagrams a second.
const FIRST_RATE: f64 = 50e3;
/// What was sent last has arrived after this time, or was dropped.
const DRAIN: Duration = Duration::from_millis(40);

const LEVELS: [Level; 2] = [NATIVE, SFI_TXN];

/// What came of one rate at one level; datagrams a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The level's name.
    pub level: String,
    /// What was meant to be offered, over the greatest rate that arrived.
    pub share: f64,
    /// What was offered; a sender has its limits, too.
    pub offered: Estimate,
    /// What arrived.
    pub delivered: Estimate,
}

/// One end of a level's run.
struct Ends {
    session: Session,
    socket: UdpSocket,
    processors: Option<Processors>,
    sent: u64,
    /// What the far interface had received before, and what has arrived of ours since.
    before: u64,
}

impl Ends {
    fn start(programs: &Programs, level: &Level) -> Result<Self> {
        let session = Session::start(programs, level, &[]).and_then(|session| session.settled(level));
        let session = session.with_context(|| format!("at level {}", level.name))?;
        let socket = inside(&session.names().near, || {
            let socket = UdpSocket::bind((Between::NEAR, 0))?;
            socket.connect((Between::FAR, PORT))?;
            cut_apart(&socket, PAYLOAD_BYTES as i32)?;
            Ok(socket)
        });
        let socket = socket.context("a socket for datagrams")?;
        let before = counter(&session.names().far, "nook1", Counter::RxPackets)?;
        Ok(Ends { session, socket, processors: Processors::choose(), sent: 0, before })
    }

    fn arrived(&self) -> Result<u64> {
        Ok(counter(&self.session.names().far, "nook1", Counter::RxPackets)? - self.before)
    }

    /// Sends at a rate for so long; returns the rate that was reached, and that at which it arrived.
    fn slice(&mut self, rate: f64, length: Duration) -> Result<[f64; 2]> {
        let before = self.arrived()?;
        let socket = &self.socket;
        let processors = self.processors;
        let send = || {
            cpus::stay_on(processors.map(|it| it.near));
            send(socket, rate, length)
        };
        let sent = std::thread::scope(|scope| scope.spawn(send).join());
        let (sent, took) = sent.map_err(|_| anyhow::anyhow!("the sender ended in a panic"))??;
        std::thread::sleep(DRAIN);
        self.sent += sent;
        let arrived = self.arrived()? - before;
        Ok([sent, arrived].map(|count| count as f64 / took.as_secs_f64()))
    }
}

/// Has the kernel cut what is sent into datagrams of this many bytes (UDP_SEGMENT, udp(7)).
fn cut_apart(socket: &UdpSocket, bytes: i32) -> std::io::Result<()> {
    const UDP_SEGMENT: i32 = 103;
    #[expect(unsafe_code, reason = "no safe wrapper knows this option")]
    // SAFETY: reads an integer of ours, whose size is passed.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            UDP_SEGMENT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as u32,
        )
    };
    if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Sends at a rate, without sleeping: a burst would fill the interface's queue at any rate. Returns how many datagrams,
/// and the time that it took.
fn send(socket: &UdpSocket, rate: f64, length: Duration) -> Result<(u64, Duration)> {
    let (message, begin, mut sent) = ([0; PAYLOAD_BYTES * IN_A_CALL], Instant::now(), 0_u64);
    loop {
        let took = begin.elapsed();
        if took >= length {
            return Ok((sent, took));
        }
        if sent as f64 > rate * took.as_secs_f64() {
            std::hint::spin_loop();
            continue;
        }
        match socket.send(&message) {
            Ok(bytes) => sent += (bytes / PAYLOAD_BYTES) as u64,
            // The far end says that it has no room for answers, which is no matter here.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("sending datagrams"),
        }
    }
}

/// Returns what nook-run's report counts of frames that it had to send and that did not leave.
fn counted(report: &Value) -> Result<u64> {
    const NAMES: [&str; 5] = ["tx_unfit", "tx_failed", "tx_dropped", "tx_poison", "tx_given_up"];
    let counters = &report["counters"];
    let values = NAMES.iter().map(|name| counters[name].as_u64().with_context(|| format!("{name} in {counters}")));
    let lost = report["cable"]["lost"].as_u64().context("what the cable lost")?;
    Ok(values.sum::<Result<u64>>()? + lost)
}

/// Offers each rate: notes `overload_<level>_<share>`, what arrives when that share of the greatest rate is offered,
/// over the greatest rate; and `overload_<sent, refused, uncounted>_<level>`: datagrams that were sent, those that the
/// kernel dropped in front of nook-run because it had not taken others yet, and those that nook-run took and that
/// neither arrived nor are in one of its counters.
///
/// # Errors
/// If a program fails.
pub fn overload(report: &mut Report, programs: &Programs, plan: &Plan, tell: impl Fn(&str)) -> Result<()> {
    let _awake = Awake::keep();
    report.overload.clear();
    for level in &LEVELS {
        let mut ends = Ends::start(programs, level)?;
        let failed = |ends: &Ends| format!("at level {}, where nook-run said: {}", level.name, ends.session.log());
        // A socket that nobody reads: a port where there is none would be answered.
        let sink = inside(&ends.session.names().far, || UdpSocket::bind((Between::FAR, PORT)));
        let _sink = sink.context("a socket for datagrams")?;
        let (mut most, mut rate) = (0.0, FIRST_RATE);
        loop {
            let [offered, delivered] = ends.slice(rate, plan.stream).with_context(|| failed(&ends))?;
            most = f64::max(most, delivered);
            if offered < rate * 0.8 || delivered < offered * 0.8 {
                break;
            }
            rate *= 1.3;
        }
        tell(&format!("{}: {:.0} thousand datagrams a second arrive at most", level.name, most / 1e3));
        let mut found = SHARES.map(|_| [Vec::new(), Vec::new()]);
        for order in orders(SHARES.len()).take(plan.overload_rounds) {
            for at in order {
                let slice = ends.slice(most * SHARES[at], plan.stream).with_context(|| failed(&ends))?;
                found[at].iter_mut().zip(slice).for_each(|(all, value)| all.push(value));
            }
        }
        for (share, [offered, delivered]) in SHARES.iter().zip(&found) {
            let over: Vec<f64> = delivered.iter().map(|rate| rate / most).collect();
            report.note_ratio(&format!("overload_{}_{share}", level.key()), Estimate::of(&over), true);
            let [offered, delivered] = [offered, delivered].map(|it| Estimate::of(it));
            report.overload.push(Load { level: level.name.into(), share: *share, offered, delivered });
        }
        let near = |which| counter(&ends.session.names().near, "nook0", which);
        let far = |which| counter(&ends.session.names().far, "nook1", which);
        // Of all frames since the interfaces were made: some are not ours.
        let [given, refused, arrived] =
            [near(Counter::TxPackets)?, near(Counter::TxDrop)?, far(Counter::RxPackets)? + far(Counter::RxDrop)?];
        let sent = ends.sent;
        let counted = counted(&ends.session.end()?)?;
        let uncounted = given as f64 - (arrived + counted) as f64 + sent.saturating_sub(given + refused) as f64;
        for (name, count) in [("sent", sent as f64), ("refused", refused as f64), ("uncounted", uncounted)] {
            report.figure(&format!("overload_{name}_{}", level.key()), Estimate::exactly(count), "datagrams");
        }
    }
    Ok(())
}
