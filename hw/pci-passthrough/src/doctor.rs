//! What a machine lacks for passthrough, and what mends it. Looks only: nothing is loaded, opened or changed.

use std::fs;
use std::path::{Path, PathBuf};

use nook_bus::WINDOW_ALIGN;
use rustix::fs::{Access, AtFlags, CWD};
use serde::Serialize;

use crate::bind::VFIO_PCI;

/// Locked memory that no driver's window exceeds in practice; with less, large windows are refused.
const PLENTY_OF_MEMLOCK: u64 = 64 << 20;
/// Bits of a capability mask (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_IPC_LOCK: u32 = 14;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, with less than could be had.
    Limited,
    /// Passthrough cannot work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, in a word or two.
    pub name: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What mends it, with the command; `None` if nothing needs to be.
    pub remedy: Option<String>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Roots {
    /// Returns this machine's.
    fn default() -> Self {
        Roots { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

/// Looks at everything that passthrough needs, in the order in which it should be mended.
pub fn doctor(roots: &Roots) -> Vec<Check> {
    vec![
        iommu(roots),
        interrupt_remapping(roots),
        modules(roots),
        permissions(roots, may_open),
        locked_memory(roots),
        tap(roots, may_open),
    ]
}

fn good(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Good, found: found.into(), remedy: None }
}

fn limited(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Limited, found: found.into(), remedy: Some(remedy.into()) }
}

fn missing(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Missing, found: found.into(), remedy: Some(remedy.into()) }
}

/// Returns a file's text; nothing if it cannot be read.
fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn is_yes(parameter: &str) -> bool {
    matches!(parameter.trim(), "Y" | "1")
}

/// Returns how many groups a real IOMMU made.
fn groups(roots: &Roots) -> usize {
    let Ok(groups) = fs::read_dir(roots.sys.join("kernel/iommu_groups")) else { return 0 };
    groups.flatten().filter(|group| text(group.path().join("name")).trim() != "vfio-noiommu").count()
}

fn iommu(roots: &Roots) -> Check {
    const NAME: &str = "IOMMU";
    let groups = groups(roots);
    let unsafe_mode = roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode");
    if groups > 0 && is_yes(&text(unsafe_mode.clone())) {
        let found = format!("on, {groups} groups; but VFIO's no-IOMMU mode is allowed, which nook never uses");
        return limited(NAME, found, format!("echo N > {}", unsafe_mode.display()));
    }
    if groups > 0 {
        return good(NAME, format!("on, {groups} groups"));
    }
    let command_line = text(roots.proc.join("cmdline"));
    let off = command_line.split_whitespace().find(|word| {
        matches!(*word, "iommu=off" | "amd_iommu=off") || word.starts_with("intel_iommu=") && word.contains("off")
    });
    if let Some(word) = off {
        let remedy =
            format!("take `{word}` out of GRUB_CMDLINE_LINUX in /etc/default/grub, then: update-grub && reboot");
        return missing(NAME, format!("turned off by `{word}` on the kernel's command line"), remedy);
    }
    let tables = roots.sys.join("firmware/acpi/tables");
    if tables.join("DMAR").exists() {
        let remedy = "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on /' /etc/default/grub && update-grub && reboot";
        return missing(NAME, "the machine has one (VT-d), and the kernel does not use it", remedy);
    }
    if tables.join("IVRS").exists() {
        let found = "the machine has one (AMD-Vi), and the kernel does not use it";
        return missing(NAME, found, "dmesg | grep -i amd-vi says why; a kernel with CONFIG_AMD_IOMMU is needed");
    }
    let virtual_machine = text(roots.proc.join("cpuinfo")).split_whitespace().any(|word| word == "hypervisor");
    if virtual_machine {
        let remedy = "give the virtual machine one; with QEMU: -machine q35,kernel-irqchip=split -device \
                      intel-iommu,intremap=on, and boot with intel_iommu=on";
        return missing(NAME, "this virtual machine has none", remedy);
    }
    let remedy = "enable VT-d (Intel) or IOMMU/AMD-Vi (AMD) in the firmware: systemctl reboot --firmware-setup";
    missing(NAME, "the firmware reports none", remedy)
}

fn interrupt_remapping(roots: &Roots) -> Check {
    const NAME: &str = "interrupt remapping";
    // The names of interrupt controllers: `IR-` where VT-d or AMD-Vi remaps (`IR-PCI-MSI`), `ITS-` where an ARM
    // interrupt translation service does.
    let table = text(roots.proc.join("interrupts"));
    if table.split_whitespace().any(|word| word.starts_with("IR-") || word.starts_with("ITS-")) {
        return good(NAME, "on");
    }
    let firmware = "enable interrupt remapping (often with x2APIC) in the firmware, and take intremap=off and \
                    nox2apic off the kernel's command line";
    let parameter = roots.sys.join("module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
    if groups(roots) > 0 && is_yes(&text(parameter.clone())) {
        let found = "off, and VFIO is set to work without it: a device could send any interrupt";
        return limited(NAME, found, format!("{firmware}; then: echo N > {}", parameter.display()));
    }
    let remedy = format!(
        "{firmware}; or, for a device and a driver that you trust: echo Y > {} (after modprobe vfio_iommu_type1)",
        parameter.display()
    );
    missing(NAME, "off: the kernel refuses VFIO, because a device could send any interrupt", remedy)
}

fn modules(roots: &Roots) -> Check {
    const NAME: &str = "VFIO modules";
    let there = [
        (VFIO_PCI, roots.sys.join("bus/pci/drivers").join(VFIO_PCI)),
        ("vfio_iommu_type1", roots.sys.join("module/vfio_iommu_type1")),
    ];
    let absent: Vec<&str> = there.iter().filter(|(_, path)| !path.exists()).map(|(name, _)| *name).collect();
    if absent.is_empty() {
        return good(NAME, "loaded");
    }
    let names = absent.join(" ");
    let remedy = format!(
        "modprobe -a {names} (and at each boot: printf '{}\\n' > /etc/modules-load.d/nook.conf)",
        absent.join("\\n")
    );
    missing(NAME, format!("not loaded: {names}"), remedy)
}

/// Returns whether this process may open a device node for reading and writing.
fn may_open(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn permissions(roots: &Roots, may_open: impl Fn(&Path) -> bool) -> Check {
    const NAME: &str = "permissions";
    let folder = roots.dev.join("vfio");
    let container = folder.join("vfio");
    if !container.exists() {
        return missing(NAME, format!("{} does not exist", container.display()), "modprobe vfio-pci");
    }
    let mut nodes: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|node| node.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
        .map(|node| node.path())
        .collect();
    nodes.sort();
    let bound = nodes.len();
    nodes.push(container);
    let closed: Vec<String> =
        nodes.iter().filter(|node| !may_open(node)).map(|node| node.display().to_string()).collect();
    if !closed.is_empty() {
        let closed = closed.join(" ");
        return missing(NAME, format!("may not open {closed}"), format!("run as root, or: chown $USER {closed}"));
    }
    match bound {
        0 => good(NAME, "VFIO may be opened; no device is bound to vfio-pci (`nook-run bind` does it, as root)"),
        _ => good(NAME, format!("VFIO and {bound} groups of bound devices may be opened")),
    }
}

/// Returns whether this process has a capability.
fn capable(roots: &Roots, bit: u32) -> bool {
    let status = text(roots.proc.join("self/status"));
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> bit & 1 == 1)
}

fn locked_memory(roots: &Roots) -> Check {
    const NAME: &str = "locked memory";
    if capable(roots, CAP_IPC_LOCK) {
        return good(NAME, "unlimited (CAP_IPC_LOCK)");
    }
    // `Max locked memory   soft   hard   bytes`.
    let limits = text(roots.proc.join("self/limits"));
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next());
    let remedy = "ulimit -l unlimited (as root), or for good: printf '* - memlock unlimited\\n' > \
                  /etc/security/limits.d/nook.conf and log in again; in a systemd unit: LimitMEMLOCK=infinity";
    let bytes = match soft {
        Some("unlimited") => return good(NAME, "unlimited"),
        Some(soft) => soft.parse::<u64>().unwrap_or(0),
        None => return limited(NAME, "the limit cannot be read", remedy),
    };
    let found = format!("at most {} KiB", bytes >> 10);
    match bytes {
        _ if bytes >= PLENTY_OF_MEMLOCK => good(NAME, found),
        _ if bytes >= WINDOW_ALIGN => limited(NAME, format!("{found}, and a driver's DMA window is locked"), remedy),
        _ => missing(NAME, format!("{found}, less than the smallest DMA window"), remedy),
    }
}

fn tap(roots: &Roots, may_open: impl Fn(&Path) -> bool) -> Check {
    const NAME: &str = "TAP";
    let node = roots.dev.join("net/tun");
    let without = "everything but --tap works";
    if !node.exists() {
        return limited(NAME, format!("{} does not exist; {without}", node.display()), "modprobe tun");
    }
    if !may_open(&node) {
        let found = format!("may not open {}; {without}", node.display());
        return limited(NAME, found, format!("run as root, or: chmod 666 {}", node.display()));
    }
    if !capable(roots, CAP_NET_ADMIN) {
        let found = "may not make interfaces (no CAP_NET_ADMIN), only use one that was made for this user";
        return limited(NAME, found, "sudo ip tuntap add dev nook0 mode tap user $USER");
    }
    good(NAME, "interfaces can be made")
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
