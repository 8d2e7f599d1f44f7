//! What an exercise found out.

use std::fmt;

use serde::Serialize;

/// The outcome of an exercise; a part that was not asked for, or not reached, is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExerciseReport {
    /// Echo requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<PingReport>,
    /// Streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpReport>,
    /// Requests and responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rr: Option<RrReport>,
    /// Why the exercise ended before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Echo requests and the times until their answers, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PingReport {
    /// Requests.
    pub sent: u64,
    /// Answers that were whole and in time.
    pub received: u64,
    /// The fastest.
    pub min_ns: u64,
    /// Half of them were not slower.
    pub p50_ns: u64,
    /// 90 of 100 were not slower.
    pub p90_ns: u64,
    /// 99 of 100 were not slower.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

/// Streams both ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TcpReport {
    /// Bytes of all streams.
    pub bytes: u64,
    /// Over all streams, while they ran.
    pub bits_per_second: u64,
    /// Whether both ends computed the same hash of every stream.
    pub hash_ok: bool,
    /// Segments that were sent again, as seen from here.
    pub retransmissions: u64,
    /// To the other host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<TcpDirectionReport>,
    /// From the other host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download: Option<TcpDirectionReport>,
}

/// Streams one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TcpDirectionReport {
    /// Streams that came to their end.
    pub streams: u64,
    /// Bytes of all streams.
    pub bytes: u64,
    /// From connected to the answer with the hash, over all streams, in nanoseconds.
    pub duration_ns: u64,
    /// The quotient.
    pub bits_per_second: u64,
    /// Whether both ends computed the same hash of every stream, and there was one.
    pub hash_ok: bool,
    /// The last stream's SHA-256 as computed here, in hexadecimal; empty if none came to its end.
    pub sha256: String,
    /// Segments that were sent again, as seen from here.
    pub retransmissions: u64,
}

/// Requests over UDP and the times until their responses, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RrReport {
    /// Requests.
    pub requests: u64,
    /// Those without a right response in time.
    pub lost: u64,
    /// Half of the responses were not slower.
    pub p50_ns: u64,
    /// 99 of 100 were not slower.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// Responses, over the whole time.
    pub requests_per_second: u64,
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

impl fmt::Display for ExerciseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ping) = &self.ping {
            writeln!(
                f,
                "ping      {} of {} answered; min {:.1}, p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1} µs",
                ping.received,
                ping.sent,
                micros(ping.min_ns),
                micros(ping.p50_ns),
                micros(ping.p90_ns),
                micros(ping.p99_ns),
                micros(ping.max_ns)
            )?;
        }
        if let Some(tcp) = &self.tcp {
            let ways = [("tcp up", &tcp.upload), ("tcp down", &tcp.download)];
            for (name, way) in ways.into_iter().filter_map(|(name, way)| Some((name, way.as_ref()?))) {
                writeln!(
                    f,
                    "{name:<9} {:.1} MiB in {:.2} s: {:.1} Mbit/s, hash {}, {} retransmissions",
                    way.bytes as f64 / f64::from(1 << 20),
                    way.duration_ns as f64 / 1e9,
                    way.bits_per_second as f64 / 1e6,
                    if way.hash_ok { "ok" } else { "WRONG" },
                    way.retransmissions
                )?;
            }
        }
        if let Some(rr) = &self.rr {
            writeln!(
                f,
                "rr        {} of {} answered; p50 {:.1}, p99 {:.1}, max {:.1} µs; {} a second",
                rr.requests - rr.lost,
                rr.requests,
                micros(rr.p50_ns),
                micros(rr.p99_ns),
                micros(rr.max_ns),
                rr.requests_per_second
            )?;
        }
        if let Some(error) = &self.error {
            writeln!(f, "not done: {error}")?;
        }
        Ok(())
    }
}
