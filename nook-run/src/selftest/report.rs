//! What the reports of all self-tests have: the checks, the device, the machine; and the table.

use std::fmt::Write;
use std::fs;

use nook_bus::PciIdentity;
use serde::Serialize;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What should be.
    pub name: &'static str,
    /// Whether it is.
    pub passed: bool,
    /// What was found.
    pub found: String,
}

/// The device.
#[derive(Debug, Serialize)]
pub struct DeviceReport {
    /// In words.
    pub name: String,
    /// "model", "qemu" or "pci".
    pub from: &'static str,
    /// Vendor and device id.
    pub id: String,
    /// Subsystem vendor and device id.
    pub subsystem: String,
    /// Revision.
    pub revision: u8,
    /// "intx", "msi" or "msix", if interrupts were enabled.
    pub interrupts: Option<&'static str>,
    /// What confines its DMA.
    pub iommu: &'static str,
}

impl DeviceReport {
    /// Creates it for a device that is described so, comes from there, and interrupts so.
    pub fn new(name: String, from: &'static str, identity: PciIdentity, interrupts: Option<&'static str>) -> Self {
        DeviceReport {
            name,
            from,
            id: format!("{:04x}:{:04x}", identity.vendor, identity.device),
            subsystem: format!("{:04x}:{:04x}", identity.subsystem_vendor, identity.subsystem),
            revision: identity.revision,
            interrupts,
            // A real device without an IOMMU is refused.
            iommu: if from == "pci" { "the kernel's, through VFIO" } else { "none: an emulated device" },
        }
    }
}

/// The machine.
#[derive(Debug, Serialize)]
pub struct MachineReport {
    /// Release of the kernel.
    pub kernel: String,
    /// Instruction set.
    pub architecture: &'static str,
}

impl MachineReport {
    /// Looks at this machine.
    pub fn here() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        MachineReport { kernel: kernel.trim().to_owned(), architecture: std::env::consts::ARCH }
    }
}

/// Returns the table: the checks, what was left out and why, and the verdict.
pub fn table(
    device: &DeviceReport,
    machine: &MachineReport,
    checks: &[Check],
    left_out: Option<(&str, &str)>,
    duration_ns: u64,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}, kernel {}", device.name, machine.kernel);
    for Check { name, passed, found } in checks {
        let mark = if *passed { "ok" } else { "FAILED" };
        let _ = writeln!(text, "  {mark:<6}  {name:<22} {found}");
    }
    if let Some((name, why)) = left_out {
        let _ = writeln!(text, "  {:<6}  {name:<22} {why}", "-");
    }
    let verdict = if checks.iter().all(|check| check.passed) { "passed" } else { "did not pass" };
    let _ = writeln!(text, "self-test {verdict}, {:.1} s", duration_ns as f64 / 1e9);
    text
}
