//! TAP ⇄ driver ⇄ model ⇄ TAP, between two network namespaces of the test's own. `NOOK_LONG=1` takes ten seconds for
//! each stream instead of two.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::driver;

/// Two namespaces; they go with the value.
struct Namespaces {
    near: String,
    far: String,
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Namespaces {
    fn new(tag: &str) -> Self {
        let id = std::process::id();
        let names = Namespaces { near: format!("nook-{tag}-{id}-a"), far: format!("nook-{tag}-{id}-b") };
        ip(&["netns", "add", &names.near]);
        ip(&["netns", "add", &names.far]);
        names
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A command inside of a namespace.
fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// A child that is ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: a plain system call; the child was not waited for yet, so the number is still its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

struct Figures {
    out: f64,
    back: f64,
}

fn stream(names: &Namespaces, extra: &[&str]) -> serde_json::Value {
    let seconds = if std::env::var_os("NOOK_LONG").is_some() { "10" } else { "2" };
    let mut client = within(&names.near, "iperf3");
    client.args(["-c", "10.99.0.2", "-J", "-t", seconds]).args(extra);
    serde_json::from_str(&output(&mut client)).unwrap()
}

fn carry(isolation: &str) -> Figures {
    let names = Namespaces::new(isolation);
    let mut command = within(&names.near, env!("CARGO_BIN_EXE_nook-run"));
    command.arg(driver()).args(["--tap", "nook0", "--wire", "tap:nook1", "--isolation", isolation]);
    let _nook = Running(command.stdout(Stdio::null()).spawn().unwrap());
    let there = |name: &str| within(&names.near, "ip").args(["link", "show", name]).output().unwrap().status.success();
    wait_until("the interfaces are there", || there("nook0") && there("nook1"));
    ip(&["-n", &names.near, "link", "set", "nook1", "netns", &names.far]);
    for (namespace, name, address) in [(&names.near, "nook0", "10.99.0.1/24"), (&names.far, "nook1", "10.99.0.2/24")] {
        ip(&["-n", namespace, "addr", "add", address, "dev", name]);
        ip(&["-n", namespace, "link", "set", name, "up"]);
    }
    wait_until("the far end answers", || {
        let mut ping = within(&names.near, "ping");
        ping.args(["-c", "1", "-W", "1", "10.99.0.2"]).output().unwrap().status.success()
    });

    let flood = output(within(&names.near, "ping").args(["-f", "-q", "-c", "10000", "10.99.0.2"]));
    assert!(flood.contains("10000 received"), "{isolation}: {flood}");

    let mut server = within(&names.far, "iperf3");
    let _server = Running(server.arg("-s").stdout(Stdio::null()).spawn().unwrap());
    wait_until("iperf3 listens", || output(within(&names.far, "cat").arg("/proc/net/tcp6")).contains(":1451 "));
    // 1,000 datagrams of 1,000 bytes a second.
    let udp = stream(&names, &["-u", "-b", "8M", "-l", "1000"]);
    assert_eq!(udp["end"]["sum"]["lost_packets"], 0, "{isolation}: {}", udp["end"]["sum"]);
    let rate = |report: serde_json::Value| report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
    Figures { out: rate(stream(&names, &[])), back: rate(stream(&names, &["-R"])) }
}

#[test]
#[ignore = "needs root"]
fn a_driver_between_two_namespaces_loses_nothing() {
    let (sfi, native) = (carry("sfi"), carry("native"));
    println!("TCP, Mbit/s      out      back");
    for (name, figures) in [("sfi", &sfi), ("native", &native)] {
        println!("{name:<12} {:>8.0} {:>9.0}", figures.out / 1e6, figures.back / 1e6);
    }
    println!("sfi/native   {:>8.2} {:>9.2}", sfi.out / native.out, sfi.back / native.back);
}
