//! Two network namespaces, and threads in them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

/// Two namespaces; they go with the value.
pub(super) struct Namespaces {
    pub(super) near: String,
    pub(super) far: String,
}

/// Runs a command to its end; an error with what it printed if it fails.
pub(super) fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {command:?}: is it installed?"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", text.trim());
    }
    Ok(output)
}

pub(super) fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args)).map(drop)
}

/// Whether namespaces can be made here.
pub(super) fn possible() -> Result<()> {
    run(Command::new("unshare").args(["--net", "true"])).map(drop)
}

impl Namespaces {
    pub(super) fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let names = Namespaces { near: format!("nook-bench-{id}-a"), far: format!("nook-bench-{id}-b") };
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

/// A command inside of a namespace.
pub(super) fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Runs `make` on a thread in the namespace; sockets that it makes stay there.
pub(super) fn inside<T: Send>(namespace: &str, make: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // Where iproute2 keeps them (ip-netns(8)).
    let file = File::open(format!("/var/run/netns/{namespace}")).context("opening the namespace")?;
    let enter = || {
        // SAFETY: a plain system call on our own descriptor; it concerns this thread, which ends soon.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error()).context("entering the namespace");
        }
        make()
    };
    std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|_| bail!("the thread ended in a panic"))
}
