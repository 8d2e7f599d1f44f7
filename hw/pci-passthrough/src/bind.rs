//! Moving a device between its kernel driver and vfio-pci.
//!
//! What must hold before a device may be taken is decided by [`objection`], which looks and touches nothing; the
//! steps go through [`Kernel`], which tests replace.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::holders::holders_of;
use crate::{NetUse, PciAddress, PciFunction, Sysfs, SysfsError};

/// The driver that gives a device to user space.
pub(crate) const VFIO_PCI: &str = "vfio-pci";

/// Drivers that use nothing of a device: a group member bound to one of them does not keep the group from being
/// used, and taking a device from one of them takes it from nobody (VFIO's own list in `vfio_dev_driver_allowed`).
pub(crate) const HARMLESS: [&str; 3] = [VFIO_PCI, "pci-stub", "pcieport"];

/// Why a device was not bound or released. Nothing was changed, unless the message says so.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is no such device, or sysfs is not as it should be.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// Somebody uses it.
    #[error("{address} is in use: {}; nothing was changed. Stop that use first ({}), or give --force to cut it off",
            reasons.join("; "), remedy)]
    InUse {
        /// The device.
        address: PciAddress,
        /// Why, each in words.
        reasons: Vec<String>,
        /// What ends the use.
        remedy: String,
    },
    /// No confinement, so no passthrough.
    #[error(
        "{address} {why}, and nook never drives a device without an IOMMU. Enable VT-d or AMD-Vi in the \
             firmware and boot with intel_iommu=on (Intel); `nook-run doctor` checks"
    )]
    NoIommu {
        /// The device.
        address: PciAddress,
        /// What was found instead.
        why: &'static str,
    },
    /// A bridge leads to other devices.
    #[error("{0} is a bridge to other devices and cannot be given to a driver")]
    Bridge(PciAddress),
    /// The vfio-pci module is not there.
    #[error("the kernel has no vfio-pci driver ({0}); try `modprobe vfio-pci`")]
    NoVfio(String),
    /// The kernel went another way than asked.
    #[error("{address} was to be bound to {wanted} and is bound to {}; the kernel log (`dmesg`) may say why",
            found.as_deref().unwrap_or("nothing"))]
    NotTaken {
        /// The device.
        address: PciAddress,
        /// The driver that should have it.
        wanted: String,
        /// The driver that has it.
        found: Option<String>,
    },
    /// To be released, and not bound to vfio-pci.
    #[error("{address} is not bound to vfio-pci ({}): there is nothing to undo", driver.as_deref().unwrap_or("no driver"))]
    NotBound {
        /// The device.
        address: PciAddress,
        /// The driver that has it.
        driver: Option<String>,
    },
    /// A file could not be written.
    #[error("cannot write `{text}` to {}: {source}{}", path.display(), root_hint(source))]
    Write {
        /// Which file.
        path: PathBuf,
        /// What was to be written.
        text: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

fn root_hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { " (binding a device needs root)" } else { "" }
}

/// What [`Binder::bind`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The device.
    pub address: PciAddress,
    /// The driver that it was taken from, which [`Binder::unbind`] gives it back to.
    pub from: Option<String>,
    /// It was bound to vfio-pci before; nothing was done.
    pub already: bool,
    /// The group's other members that are still in use by kernel drivers: until they are bound to vfio-pci too, or
    /// to nothing, VFIO refuses the whole group.
    pub blocked_by: Vec<String>,
}

/// What [`Binder::unbind`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Released {
    /// The device.
    pub address: PciAddress,
    /// The driver that has it now.
    pub to: Option<String>,
}

/// What binding does to the kernel.
pub trait Kernel {
    /// Writes `text` to a file of sysfs.
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()>;

    /// Loads a module and what it needs.
    fn load_module(&mut self, name: &str) -> Result<(), String>;
}

/// The kernel of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealKernel;

impl Kernel for RealKernel {
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
    }

    fn load_module(&mut self, name: &str) -> Result<(), String> {
        match Command::new("modprobe").arg(name).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("modprobe {name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("modprobe {name}: {error}")),
        }
    }
}

/// Binds devices to vfio-pci and gives them back.
#[derive(Debug)]
pub struct Binder<K = RealKernel> {
    sysfs: Sysfs,
    proc: PathBuf,
    memory: PathBuf,
    kernel: K,
}

impl Binder<RealKernel> {
    /// Creates one for this machine. Original drivers are remembered under `/run/nook/bound`, which a reboot forgets
    /// together with the binding.
    pub fn new() -> Self {
        Binder::with(Sysfs::default(), "/proc", "/run/nook/bound", RealKernel)
    }
}

impl Default for Binder<RealKernel> {
    fn default() -> Self {
        Binder::new()
    }
}

impl<K: Kernel> Binder<K> {
    /// Creates one with another sysfs, `/proc`, folder to remember in, and kernel.
    pub fn with(sysfs: Sysfs, proc: impl Into<PathBuf>, memory: impl Into<PathBuf>, kernel: K) -> Self {
        Binder { sysfs, proc: proc.into(), memory: memory.into(), kernel }
    }

    /// Binds the device at `address` to vfio-pci. Refused while it is in use, unless `force`; a bridge, and a device
    /// without an IOMMU, always.
    pub fn bind(&mut self, address: PciAddress, net: &NetUse, force: bool) -> Result<Bound, BindError> {
        let device = self.sysfs.device(address)?;
        let others = self.others_in_use(&device)?;
        if let Some(objection) = objection(&device, &self.sysfs, net, &others, force) {
            return Err(objection);
        }
        if device.driver.as_deref() == Some(VFIO_PCI) {
            let from = self.remembered(address).and_then(|remembered| remembered.driver);
            return Ok(Bound { address, from, already: true, blocked_by: others });
        }
        if !self.sysfs.driver_path(VFIO_PCI).exists() {
            self.kernel.load_module(VFIO_PCI).map_err(BindError::NoVfio)?;
        }
        let before = Remembered {
            driver: device.driver.clone(),
            driver_override: self.sysfs.device_file(address, "driver_override")?.filter(|text| text != "(null)"),
        };
        self.remember(address, &before)?;
        if let Err(error) = self.move_to(address, VFIO_PCI, Some(VFIO_PCI)) {
            // Half a move would leave the machine without its device: put it back, and tell the first error.
            if let Err(second) = self.restore(address, &before) {
                tracing::warn!(%address, %second, "the original driver could not be given its device back");
            }
            self.forget(address);
            return Err(error);
        }
        Ok(Bound { address, from: before.driver, already: false, blocked_by: others })
    }

    /// Gives the device at `address` back to the driver that [`bind`](Self::bind) took it from. Where that is not
    /// known (somebody else bound it), the kernel chooses. Refused while a process drives it, unless `force`.
    pub fn unbind(&mut self, address: PciAddress, force: bool) -> Result<Released, BindError> {
        let device = self.sysfs.device(address)?;
        if device.driver.as_deref() != Some(VFIO_PCI) {
            return Err(BindError::NotBound { address, driver: device.driver });
        }
        if let Some(group) = device.group.as_ref().filter(|_| !force) {
            let holders = holders_of(&self.proc, &PathBuf::from(format!("/dev/vfio/{}", group.id)));
            if !holders.is_empty() {
                // Unbinding would wait in the kernel until they let go.
                let reasons = vec![format!("it is driven by process {}", holders.join(", "))];
                return Err(BindError::InUse { address, reasons, remedy: "end that process".into() });
            }
        }
        let before = self.remembered(address).unwrap_or_default();
        let to = self.restore(address, &before)?;
        self.forget(address);
        Ok(Released { address, to })
    }

    fn restore(&mut self, address: PciAddress, before: &Remembered) -> Result<Option<String>, BindError> {
        let previous = before.driver_override.as_deref();
        if let Some(driver) = &before.driver {
            if !self.sysfs.driver_path(driver).exists() {
                // A driver that was unloaded meanwhile; if this fails, the move below says what happened.
                if let Err(why) = self.kernel.load_module(driver) {
                    tracing::warn!(%address, driver, why, "the original driver is not loaded");
                }
            }
            self.move_to(address, driver, previous)?;
        } else {
            self.detach(address, previous)?;
            self.put(self.sysfs.root().join("bus/pci/drivers_probe"), &address.to_string())?;
        }
        Ok(self.sysfs.device(address)?.driver)
    }

    /// Takes the device from its driver and lets the kernel bind it again under `driver_override`.
    fn move_to(&mut self, address: PciAddress, driver: &str, driver_override: Option<&str>) -> Result<(), BindError> {
        self.detach(address, driver_override)?;
        self.put(self.sysfs.root().join("bus/pci/drivers_probe"), &address.to_string())?;
        let found = self.sysfs.device(address)?.driver;
        if found.as_deref() == Some(driver) {
            return Ok(());
        }
        Err(BindError::NotTaken { address, wanted: driver.to_owned(), found })
    }

    fn detach(&mut self, address: PciAddress, driver_override: Option<&str>) -> Result<(), BindError> {
        let folder = self.sysfs.device_path(address);
        if folder.join("driver").exists() {
            self.put(folder.join("driver/unbind"), &address.to_string())?;
        }
        // A newline alone clears it.
        self.put(folder.join("driver_override"), &format!("{}\n", driver_override.unwrap_or_default()))
    }

    fn put(&mut self, path: PathBuf, text: &str) -> Result<(), BindError> {
        self.kernel.write(&path, text).map_err(|source| BindError::Write { path, text: text.trim().to_owned(), source })
    }

    /// Returns the other members of the device's group that are in use by kernel drivers, in words.
    fn others_in_use(&self, device: &PciFunction) -> Result<Vec<String>, SysfsError> {
        let mut others = Vec::new();
        for member in device.group.iter().flat_map(|group| &group.members).filter(|member| **member != device.address) {
            let member = self.sysfs.device(*member)?;
            if let Some(driver) = member.driver.as_deref().filter(|driver| !HARMLESS.contains(driver)) {
                let interfaces = if member.interfaces.is_empty() {
                    String::new()
                } else {
                    format!(", interface {}", member.interfaces.join(", "))
                };
                others.push(format!("{} (bound to {driver}{interfaces})", member.address));
            }
        }
        Ok(others)
    }

    fn memory_of(&self, address: PciAddress) -> PathBuf {
        self.memory.join(address.to_string())
    }

    fn remember(&self, address: PciAddress, before: &Remembered) -> Result<(), BindError> {
        let path = self.memory_of(address);
        let text = before.to_text();
        let written = fs::create_dir_all(&self.memory).and_then(|()| {
            // On the disk before it gets its name, so that a crash or a full disk leaves the whole file or none.
            let mut file = tempfile::NamedTempFile::new_in(&self.memory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|source| BindError::Write { path, text, source })
    }

    fn remembered(&self, address: PciAddress) -> Option<Remembered> {
        fs::read_to_string(self.memory_of(address)).ok().map(|text| Remembered::from_text(&text))
    }

    fn forget(&self, address: PciAddress) {
        let path = self.memory_of(address);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a remembered driver could not be forgotten");
        }
    }
}

/// How a device was bound before it was taken: one `key=value` a line, absent where there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Remembered {
    driver: Option<String>,
    driver_override: Option<String>,
}

impl Remembered {
    fn to_text(&self) -> String {
        let line =
            |key: &str, value: &Option<String>| value.as_ref().map(|v| format!("{key}={v}\n")).unwrap_or_default();
        line("driver", &self.driver) + &line("driver_override", &self.driver_override)
    }

    fn from_text(text: &str) -> Self {
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            // It becomes a part of a path.
            found.filter(|value| !value.is_empty() && !value.contains('/')).map(str::to_owned)
        };
        Remembered { driver: value("driver"), driver_override: value("driver_override") }
    }
}

/// Returns why `device` must not be bound to vfio-pci, if there is a reason. Changes nothing; `others` are the other
/// members of its group that are in use, in words.
fn objection(device: &PciFunction, sysfs: &Sysfs, net: &NetUse, others: &[String], force: bool) -> Option<BindError> {
    let address = device.address;
    // Base class 6: bridges (PCI Code and ID Assignment Specification, 1.7).
    if device.class >> 16 == 0x06 {
        return Some(BindError::Bridge(address));
    }
    match &device.group {
        None => return Some(BindError::NoIommu { address, why: "has no IOMMU group" }),
        Some(group) if group.noiommu => {
            return Some(BindError::NoIommu { address, why: "is in a made-up group of VFIO's no-IOMMU mode" });
        }
        Some(_) => {}
    }
    if force || device.driver.as_deref() == Some(VFIO_PCI) {
        return None;
    }
    let mut reasons = Vec::new();
    let mut remedies = Vec::new();
    for interface in &device.interfaces {
        let found = interface_reasons(&sysfs.device_path(address).join("net").join(interface), interface, net);
        if !found.is_empty() {
            remedies.push(format!("ip link set {interface} down; ip addr flush dev {interface}"));
            reasons.push(format!("its interface {interface} {}", found.join(" and ")));
        }
    }
    if device.interface_elsewhere {
        reasons.push("its interface is in another network namespace".into());
        remedies.push("move it back, or delete that namespace".into());
    }
    let network = device.class >> 16 == 0x02;
    if let Some(driver) = device.driver.as_deref().filter(|driver| !network && !HARMLESS.contains(driver)) {
        reasons.push(format!(
            "{driver} drives it, and for a device of class {:06x} nook cannot tell what for",
            device.class
        ));
        remedies.push("make sure that nothing needs it".into());
    }
    if !others.is_empty() {
        reasons.push(format!("its IOMMU group cannot be taken in part, and it also holds {}", others.join(", ")));
        remedies.push("bind every member with --force, or put the card into another slot".into());
    }
    (!reasons.is_empty()).then(|| BindError::InUse { address, reasons, remedy: remedies.join("; ") })
}

fn interface_reasons(folder: &Path, interface: &str, net: &NetUse) -> Vec<String> {
    let mut reasons = Vec::new();
    let flags = fs::read_to_string(folder.join("flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    if flags & libc::IFF_UP as u32 != 0 {
        reasons.push("is up".to_owned());
    }
    if let Ok(master) = fs::read_link(folder.join("master"))
        && let Some(name) = master.file_name()
    {
        reasons.push(format!("belongs to {}", name.to_string_lossy()));
    }
    reasons.extend(net.reasons(interface));
    reasons
}

#[cfg(test)]
#[path = "bind_tests.rs"]
mod tests;
