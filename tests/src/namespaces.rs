//! Two network namespaces with `nook-run` between them: TAP, driver, model, TAP. It takes root.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// iperf3's port, as /proc/net/tcp6 writes it.
const IPERF_PORT: &str = ":1451";
/// The state of a socket that waits for connections, there.
const LISTEN: &str = "0A";
/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that is asked to end (SIGTERM) with the value, and waited for.
pub struct Running(Child);

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.spawn().map(Running).map_err(|error| Error::other(format!("cannot start {command:?}: {error}")))
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_alive() {
            // It was not waited for yet, so the number is still its own.
            if let Some(child) = Pid::from_raw(self.0.id() as i32) {
                let _ = kill_process(child, Signal::TERM);
            }
            let _ = self.0.wait();
        }
    }
}

/// Runs a command to its end; an error with what it printed if it fails.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output();
    let output =
        output.map_err(|error| Error::other(format!("cannot start {command:?}: {error}; is it installed?")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        return Err(Error::other(format!("{command:?}: {}", text.trim())));
    }
    Ok(output)
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args)).map(drop)
}

/// Two namespaces; they go with the value.
pub struct Namespaces {
    /// Where the driver's interface is.
    pub near: String,
    /// Where the other end of its cable is.
    pub far: String,
}

impl Namespaces {
    /// Returns whether they can be made here.
    ///
    /// # Errors
    /// With the reason, if not.
    pub fn possible() -> Result<()> {
        run(Command::new("unshare").args(["--net", "true"])).map(drop)
    }

    /// Makes them, with nothing in them but a loopback interface that is up.
    ///
    /// # Errors
    /// If they cannot be made: it takes root.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let names = Namespaces { near: format!("nook-{id}-a"), far: format!("nook-{id}-b") };
        for name in [&names.near, &names.far] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(names)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Says whether a table like /proc/net/tcp6 has a socket that waits for connections at iperf3's port. One that an
/// earlier connection left at that port does not.
fn listens(table: &str) -> bool {
    let is_listening = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, local, _, LISTEN, ..] if local.ends_with(IPERF_PORT))
    };
    table.lines().any(is_listening)
}

/// Returns a command inside a namespace.
pub fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Runs `make` on a thread in the namespace; sockets that it makes stay there.
///
/// # Errors
/// If the namespace cannot be entered, or `make` fails.
pub fn inside<T: Send>(namespace: &str, make: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // Where iproute2 keeps them (ip-netns(8)).
    let file = File::open(format!("/var/run/netns/{namespace}"))?;
    #[expect(unsafe_code, reason = "a thread enters the namespace")]
    let enter = || {
        // SAFETY: a plain system call on our own descriptor; it concerns this thread, which ends soon.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(Error::last_os_error());
        }
        make()
    };
    let outcome = std::thread::scope(|scope| scope.spawn(enter).join());
    outcome.unwrap_or_else(|_| Err(Error::other("the thread in the namespace ended in a panic")))
}

/// What the kernel counts of an interface, of all frames since it was made (proc_pid_net(5)). What was sent through a
/// TAP interface is what its program took.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    /// Frames that were received.
    RxPackets = 1,
    /// Frames that were received and dropped.
    RxDrop = 3,
    /// Frames that were sent.
    TxPackets = 9,
    /// Frames that were to be sent and were dropped.
    TxDrop = 11,
}

/// Reads a counter of an interface in a namespace.
///
/// # Errors
/// If the namespace or the interface is not there.
pub fn counter(namespace: &str, interface: &str, which: Counter) -> Result<u64> {
    // The file is that of the thread's namespace.
    let table = inside(namespace, || std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    let value = line.and_then(|line| line.split_whitespace().nth(which as usize)?.parse().ok());
    value.ok_or_else(|| Error::other(format!("{interface} is not in {table}")))
}

/// `nook-run` with both ends of its cable in the kernel, each in its own namespace. Fields are dropped in this
/// order.
pub struct Between {
    nook: Running,
    names: Namespaces,
}

impl Between {
    /// The driver's interface.
    pub const NEAR: &str = "10.99.0.1";
    /// The other end of its cable.
    pub const FAR: &str = "10.99.0.2";

    /// Starts it, with what else `prepare` gives it, and waits until the far end answers.
    ///
    /// # Errors
    /// If something cannot be started, or nothing answers.
    pub fn start(nook_run: &Path, driver: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let names = Namespaces::new()?;
        let program = nook_run.to_str().ok_or_else(|| Error::other("nook-run is at a place that is not text"))?;
        let mut command = within(&names.near, program);
        command.arg(driver).args(["--tap", "nook0", "--wire", "tap:nook1"]).stdout(Stdio::null());
        prepare(&mut command);
        let nook = Running::start(&mut command)?;
        let mut this = Between { nook, names };
        let near = this.names.near.clone();
        let there =
            |name| within(&near, "ip").args(["link", "show", name]).output().is_ok_and(|it| it.status.success());
        this.until("nook-run makes its interfaces", |_| there("nook0") && there("nook1"))?;
        ip(&["-n", &this.names.near, "link", "set", "nook1", "netns", &this.names.far])?;
        for (namespace, name, address) in
            [(&this.names.near, "nook0", Self::NEAR), (&this.names.far, "nook1", Self::FAR)]
        {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", name])?;
            ip(&["-n", namespace, "link", "set", name, "up"])?;
        }
        this.until("the far end answers", |_| {
            let mut ping = within(&near, "ping");
            ping.args(["-c", "1", "-W", "1", Self::FAR]).output().is_ok_and(|it| it.status.success())
        })?;
        Ok(this)
    }

    /// Returns the namespaces.
    pub fn names(&self) -> &Namespaces {
        &self.names
    }

    /// `nook-run`'s process id, or that of `ip` which became it.
    pub fn id(&self) -> u32 {
        self.nook.id()
    }

    /// Carries one stream with iperf3 from the near end to the far end, with these arguments besides, and returns its
    /// report. The stream has its own server: a server that has just served one closes its socket and opens it
    /// again, and what comes in between is refused or reset.
    ///
    /// # Errors
    /// If it cannot be started, or says that the stream failed.
    pub fn iperf3(&self, args: &[&str]) -> Result<Value> {
        let [near, far] = [&self.names.near, &self.names.far];
        let once = ["--server", "--one-off"];
        let mut server = Running::start(within(far, "iperf3").args(once).stdout(Stdio::null()).stderr(Stdio::null()))?;
        let begin = Instant::now();
        while !listens(&text(&run(within(far, "cat").arg("/proc/net/tcp6"))?)) {
            if !server.is_alive() || begin.elapsed() > PATIENCE {
                return Err(Error::other("iperf3's server does not come to listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let report: Value =
            serde_json::from_str(&text(&run(within(near, "iperf3").args(["-c", Self::FAR, "-J"]).args(args))?))?;
        // Its status is 0 all the same.
        match report.get("error") {
            Some(error) => Err(Error::other(format!("iperf3 {args:?}: {error}"))),
            None => Ok(report),
        }
    }

    /// Ends `nook-run`, and the namespaces with it.
    pub fn end(self) {}

    /// Waits until this is so.
    ///
    /// # Errors
    /// If `nook-run` has ended, or it takes a minute.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !done(self) {
            if !self.nook.is_alive() {
                return Err(Error::other(format!("waiting until {what}: nook-run has ended")));
            }
            if begin.elapsed() > PATIENCE {
                return Err(Error::other(format!("waiting until {what}: it does not happen")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until `nook-run` has ended by itself, and returns its exit status.
    ///
    /// # Errors
    /// If it takes a minute.
    pub fn wait_for_the_end(&mut self) -> Result<Option<i32>> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.nook.0.try_wait()? {
                return Ok(status.code());
            }
            if begin.elapsed() > PATIENCE {
                return Err(Error::other("nook-run does not end"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_has_ended_at_a_port_is_no_server_that_listens_there() {
        let line =
            |local: &str, state: &str| format!("   0: {local} 00000000000000000000000000000000:0000 {state} 0\n");
        let any = "00000000000000000000000000000000";
        assert!(listens(&(line(&format!("{any}:0016"), "0A") + &line(&format!("{any}:1451"), "0A"))));
        // TIME_WAIT, and another port.
        assert!(!listens(&(line(&format!("{any}:1451"), "06") + &line(&format!("{any}:0016"), "0A"))));
    }
}
