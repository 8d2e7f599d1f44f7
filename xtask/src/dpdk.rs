//! `cargo xtask drivers --with dpdk`: DPDK's drivers ([`foreign`]), with the shim in `driver-sdk/dpdk`.

mod without;

use crate::foreign::source::Package;
use crate::foreign::{self, System};
use crate::{cargo, guest, newer_qemu, test, util};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Debian's version.
pub const VERSION: &str = "22.11.11-0+deb12u1";

/// DPDK, as Debian 12 has it. Debian's patches are about its own build.
pub static DPDK: System = System {
    name: "dpdk",
    package: Package {
        title: "DPDK",
        name: "dpdk",
        version: VERSION,
        archive: "dpdk_22.11.11.orig.tar.xz",
        sha256: "27a3bb1f57e02eb68c7c0a6f8bbf9fb74ec198c5aab74ed602da5b71c492a476",
        megabytes: 16,
        folder: "dpdk-stable-22.11.11",
        // What drivers and their headers are made of.
        parts: &["config", "lib", "drivers/bus/pci", "drivers/net"],
    },
    // DPDK's per-thread variables are plain ones, as there is one thread.
    flags: &[
        "-D__thread=",
        "-D_WASI_EMULATED_SIGNAL",
        "-DALLOW_EXPERIMENTAL_API",
        "-DALLOW_INTERNAL_API",
        "-include",
        "rte_config.h",
    ],
    headers: &[
        "lib/eal/linux/include",
        "lib/eal/include",
        "lib/eal",
        "config",
        "lib/ethdev",
        "lib/hash",
        "lib/kvargs",
        "lib/mbuf",
        "lib/mempool",
        "lib/meter",
        "lib/net",
        "lib/pci",
        "lib/ring",
        "lib/security",
        "lib/telemetry",
        "drivers/bus/pci",
    ],
    // Has `sys/queue.h`, which wasi-libc has not. It comes last, as the others of its headers are for Windows.
    last_headers: Some("lib/eal/windows/include"),
};

/// What [`build`] has built in this process.
static BUILT: Mutex<Option<BTreeMap<String, PathBuf>>> = Mutex::new(None);

/// Builds every driver, once, says what it is made of, and returns where the modules are, by the names in their
/// manifests.
pub fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_none() {
        *built = Some(DPDK.build()?);
    }
    Ok(built.clone().unwrap_or_default())
}

/// How a driver of DPDK's is tried.
struct Trial {
    driver: &'static str,
    /// It is tried on a model that bookworm's QEMU has not.
    needs_newer_qemu: bool,
    /// What it is run on by the command, which must move frames each time.
    runs: &'static [&'static [&'static str]],
    /// Which tests are run with it: the arguments of cargo, and what the tests are.
    tests: &'static [&'static [&'static str]],
}

/// The e1000's driver does what our own does, in the same tests, but for loopback, which DPDK does not have. The
/// others do what is not about an e1000; there is no embedded model of their cards.
const TRIALS: [Trial; 4] = [
    Trial {
        driver: "dpdk-e1000",
        needs_newer_qemu: false,
        runs: &[&["--isolation", "sfi"], &["--qemu", "e1000"], &["--qemu", "e1000e"], &["--crash-every", "100ms"]],
        tests: &[&["--test", "dpdk", "--test", "conformance", "--test", "rollback", "--", "--skip", "in_loopback"]],
    },
    Trial {
        driver: "dpdk-igb",
        needs_newer_qemu: true,
        runs: &[&["--qemu", "igb", "--isolation", "sfi"], &["--qemu", "igb", "--crash-every", "50ms"]],
        tests: &[
            &["--test", "dpdk", "--test", "conformance", "--", "--skip", "in_loopback"],
            &["--test", "rollback", "--", "on_qemus_card", "is_to_discard"],
        ],
    },
    Trial {
        driver: "dpdk-igb-queues",
        needs_newer_qemu: true,
        runs: &[&["--qemu", "igb", "--crash-every", "50ms"]],
        // Tests that give the card more frames than a queue has descriptors are not for it: QEMU's model drops some
        // then (findings/qemu-igb-lost-frames.sh).
        tests: &[&["--test", "dpdk", "--", "over_the_queues"]],
    },
    Trial {
        driver: "dpdk-vmxnet3",
        needs_newer_qemu: false,
        runs: &[
            &["--qemu", "vmxnet3", "--isolation", "sfi", "--duration", "2s"],
            &["--qemu", "vmxnet3", "--crash-every", "100ms", "--duration", "2s"],
        ],
        tests: &[
            &["--test", "dpdk", "--test", "conformance", "--", "--skip", "in_loopback"],
            &["--test", "rollback", "--", "on_qemus_card", "is_to_discard"],
        ],
    },
];

/// And in the guest.
const GUEST_CASES: [&str; 5] =
    ["dpdk_counts_of_testpmd", "dpdk_pings", "dpdk_carries_tcp", "dpdk_is_rolled_back", "dpdk_is_the_same_again"];
/// And there with the newer QEMU.
const GUEST_CASE_OF_IGB: &str = "dpdk_igb_pings";

/// Builds every driver, and tries those that have a manifest.
pub fn test() -> Result<()> {
    without::test()?;
    build()?;
    for trial in TRIALS {
        let driver = trial.driver;
        let qemu = match trial.needs_newer_qemu.then(newer_qemu::fetch).transpose() {
            Ok(qemu) => qemu,
            Err(error) => {
                println!("dpdk: LEFT OUT, because there is no QEMU with a model of its card: {driver}: {error:#}");
                continue;
            }
        };
        foreign::exercise(driver, trial.runs, qemu.as_deref())?;
        for which in trial.tests {
            let mut tests = cargo::command();
            tests.arg("test").args(cargo::WORKSPACE).args(*which);
            tests.envs(qemu.as_ref().map(|qemu| (foreign::NOOK_QEMU, qemu)));
            util::run(tests.env("NOOK_TEST_DRIVER", trial.driver))?;
        }
    }
    // What needs root is about network namespaces.
    if test::has_namespaces() {
        let mut streams = cargo::command();
        streams.arg("test").args(cargo::WORKSPACE).args(["--test", "rigs"]);
        // How often this driver's ring rests long enough for a snapshot under TCP is chance. Its MTU goes up to 1500.
        streams.args(["--", "--include-ignored", "--nocapture", "namespaces::"]);
        streams.args(["--skip", "to_a_snapshot", "--skip", "a_long_mtu"]);
        util::run(streams.env("NOOK_TEST_DRIVER", "dpdk-e1000"))?;
    } else {
        println!("dpdk: LEFT OUT, because they need root and network namespaces: streams of iperf3");
    }
    let with_newer_qemu = newer_qemu::fetch().ok().map(|_| GUEST_CASE_OF_IGB);
    guest::run(&GUEST_CASES.into_iter().chain(with_newer_qemu).map(str::to_owned).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_filter_of_a_trial_is_part_of_a_tests_name() {
        let virtio = ("virtio-net", &crate::virtio::TESTS[..]);
        for (driver, tests) in TRIALS.map(|trial| (trial.driver, trial.tests)).into_iter().chain([virtio]) {
            for arguments in tests {
                let (cargos, tests) = arguments.split_at(arguments.iter().position(|it| *it == "--").unwrap());
                let files = cargos.iter().filter(|it| **it != "--test");
                let read =
                    |name: &&str| fs::read_to_string(util::root().join(format!("tests/tests/{name}.rs"))).unwrap();
                let text: String = files.map(read).collect();
                for filter in tests.iter().filter(|it| !it.starts_with("--")) {
                    let names = text.lines().filter_map(|line| line.strip_prefix("fn "));
                    assert!(names.into_iter().any(|name| name.contains(filter)), "{driver}: {filter}");
                }
            }
        }
    }
}
