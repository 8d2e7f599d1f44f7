//! Requests and answers over UDP, one at a time.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cpus::{self, Processors};
use crate::stats;

const REQUEST_BYTES: usize = 100;
const ANSWER_BYTES: usize = 200;
/// With fewer answers there is no 99th percentile to speak of.
const LEAST: usize = 50;
/// After so long a request, or its answer, is lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sends requests for so long, and returns the median and the 99th percentile of the times until the answer, in µs.
pub(super) fn exchange(
    client: &UdpSocket,
    server: &UdpSocket,
    length: Duration,
    processors: Option<Processors>,
) -> Result<[f64; 2]> {
    for socket in [client, server] {
        socket.set_read_timeout(Some(PATIENCE)).context("a time limit for a socket")?;
    }
    let done = AtomicBool::new(false);
    let answer = || {
        cpus::stay_on(processors.map(|it| it.far));
        let mut bytes = [0; ANSWER_BYTES];
        while !done.load(Ordering::Relaxed) {
            if let Ok((REQUEST_BYTES, from)) = server.recv_from(&mut bytes) {
                // What is not answered is noticed by the sender.
                let _ = server.send_to(&bytes, from);
            }
        }
    };
    let times = std::thread::scope(|scope| {
        scope.spawn(answer);
        let times = scope.spawn(|| {
            cpus::stay_on(processors.map(|it| it.near));
            ask(client, length)
        });
        let times = times.join();
        done.store(true, Ordering::Relaxed);
        times
    });
    let Ok(times) = times else { bail!("the thread that sends requests ended in a panic") };
    let mut times = times?;
    ensure!(times.len() >= LEAST, "only {} requests were answered", times.len());
    times.sort_by(f64::total_cmp);
    Ok([0.5, 0.99].map(|share| stats::quantile(&times, share)))
}

fn ask(client: &UdpSocket, length: Duration) -> Result<Vec<f64>> {
    let (begin, mut times, mut bytes) = (Instant::now(), Vec::new(), [0; ANSWER_BYTES]);
    while begin.elapsed() < length {
        let asked = Instant::now();
        client.send(&[0; REQUEST_BYTES]).context("sending a request")?;
        if client.recv(&mut bytes).is_ok() {
            times.push(asked.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(times)
}
