//! Installing Debian packages where this user may, and saying what to type where not.

use crate::util;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::sync::Once;

/// The package lists are fetched once in a run, however many calls install something.
static UPDATED: Once = Once::new();

/// Installs these packages without their recommended ones. The error holds the command that a person would type.
pub fn install(packages: &[&str]) -> Result<()> {
    if util::find_program("apt-get").is_none() {
        bail!("there is no apt-get here; install what Debian calls: {}", packages.join(" "));
    }
    let by_hand = by_hand(packages);
    let Some(prefix) = privileges() else {
        bail!("installing {} needs root; run: {by_hand}", packages.join(" "));
    };
    UPDATED.call_once(|| {
        eprintln!("setup: apt-get update");
        // Without fresh lists the install below may still succeed, and says clearly when it does not.
        if let Err(error) = util::run(apt_get(prefix).arg("update")) {
            eprintln!("setup: {error:#}; going on with the package lists that are here");
        }
    });
    eprintln!("setup: apt-get install {}", packages.join(" "));
    util::run(apt_get(prefix).args(["install", "-y", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("could not install {}; by hand: {by_hand}", packages.join(" ")))
}

/// Returns what to type before a command to be root, or `None` if this user cannot be without typing a password.
fn privileges() -> Option<&'static [&'static str]> {
    if util::is_root() {
        return Some(&[]);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success()).then_some(&["sudo", "-n"])
}

fn apt_get(prefix: &[&str]) -> Command {
    // sudo drops variables, hence `env` after it.
    let words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
    // A dead mirror must not hold up everything; another apt that is at work is waited for.
    let limits = ["-o", "Acquire::http::Timeout=30", "-o", "DPkg::Lock::Timeout=300"];
    let mut words = prefix.iter().chain(&words).chain(&limits);
    let mut command = Command::new(words.next().unwrap_or(&"env"));
    // Standard output belongs to the caller's own lines.
    command.args(words).stdin(Stdio::null()).stdout(std::io::stderr());
    command
}

fn by_hand(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_asks_no_questions_and_follows_the_prefix() {
        let line = util::shown(&apt_get(&["sudo", "-n"]));
        assert!(line.starts_with("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get "), "{line}");
        assert!(util::shown(&apt_get(&[])).starts_with("env DEBIAN_FRONTEND=noninteractive apt-get "));
    }

    #[test]
    fn the_command_by_hand_names_every_package() {
        assert!(by_hand(&["iproute2", "iperf3"]).ends_with("--no-install-recommends iproute2 iperf3"));
    }
}
