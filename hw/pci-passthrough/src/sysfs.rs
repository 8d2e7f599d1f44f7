//! PCI functions as the kernel lists them under `/sys/bus/pci/devices`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::PciAddress;

/// What could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SysfsError {
    /// No function at that address.
    #[error("there is no PCI device {0} on this machine; `nook-run devices` lists those that exist")]
    NoDevice(PciAddress),
    /// A file that should be there is not, or does not hold what it should.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PciFunction {
    /// Where it sits.
    pub address: PciAddress,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class, subclass, programming interface: 24 bits.
    pub class: u32,
    /// The kernel driver that is bound to it.
    pub driver: Option<String>,
    /// Its IOMMU group; `None` where no IOMMU is in use.
    pub group: Option<IommuGroup>,
    /// Network interfaces of this network namespace that it carries.
    pub interfaces: Vec<String>,
    /// It carries an interface, and none that can be seen from this network namespace.
    pub interface_elsewhere: bool,
}

/// The functions that an IOMMU cannot tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IommuGroup {
    /// The number in `/dev/vfio/<id>`.
    pub id: u32,
    /// The kernel made the group up for no-IOMMU mode: nothing confines these devices.
    pub noiommu: bool,
    /// All members, the function itself among them, in order of address.
    pub members: Vec<PciAddress>,
}

/// A sysfs tree.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: PathBuf,
}

impl Default for Sysfs {
    /// Returns the kernel's own, at `/sys`.
    fn default() -> Self {
        Sysfs::at("/sys")
    }
}

impl Sysfs {
    /// Creates one for the tree at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Sysfs { root: root.into() }
    }

    /// Returns the tree's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of the function at `address`, whether it exists or not.
    pub fn device_path(&self, address: PciAddress) -> PathBuf {
        self.root.join("bus/pci/devices").join(address.to_string())
    }

    /// Returns the folder of the PCI driver `name`, whether it is loaded or not.
    pub fn driver_path(&self, name: &str) -> PathBuf {
        self.root.join("bus/pci/drivers").join(name)
    }

    /// Returns all functions, in order of address. One that vanishes while the list is made is left out.
    pub fn devices(&self) -> Result<Vec<PciFunction>, SysfsError> {
        let folder = self.root.join("bus/pci/devices");
        let entries = fs::read_dir(&folder).map_err(|source| SysfsError::Read { path: folder.clone(), source })?;
        let mut devices = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| SysfsError::Read { path: folder.clone(), source })?;
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match self.device(address) {
                Ok(device) => devices.push(device),
                Err(SysfsError::NoDevice(_)) => {}
                Err(SysfsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        devices.sort_by_key(|device| device.address);
        Ok(devices)
    }

    /// Returns the function at `address`.
    pub fn device(&self, address: PciAddress) -> Result<PciFunction, SysfsError> {
        let path = self.device_path(address);
        if !path.exists() {
            return Err(SysfsError::NoDevice(address));
        }
        let net = path.join("net");
        let interfaces = names_in(&net)?;
        Ok(PciFunction {
            address,
            vendor: number(&path.join("vendor"))? as u16,
            device: number(&path.join("device"))? as u16,
            subsystem_vendor: number(&path.join("subsystem_vendor"))? as u16,
            subsystem: number(&path.join("subsystem_device"))? as u16,
            class: number(&path.join("class"))?,
            driver: link_name(&path.join("driver"))?,
            group: self.group(&path)?,
            // The folder stays when its only interface is moved to another network namespace.
            interface_elsewhere: interfaces.is_empty() && net.exists(),
            interfaces,
        })
    }

    fn group(&self, device: &Path) -> Result<Option<IommuGroup>, SysfsError> {
        let link = device.join("iommu_group");
        let Some(name) = link_name(&link)? else { return Ok(None) };
        let id = name.parse().map_err(|_| SysfsError::Read { path: link.clone(), source: not_a_number(&name) })?;
        let mut members: Vec<PciAddress> =
            names_in(&link.join("devices"))?.iter().filter_map(|name| name.parse().ok()).collect();
        members.sort();
        // The name file exists for the few groups that have one (drivers/vfio/group.c names its made-up groups).
        let noiommu = fs::read_to_string(link.join("name")).is_ok_and(|name| name.trim() == "vfio-noiommu");
        Ok(Some(IommuGroup { id, noiommu, members }))
    }

    /// Returns a file of a function's folder, trimmed; `None` if it is not there.
    pub(crate) fn device_file(&self, address: PciAddress, name: &str) -> Result<Option<String>, SysfsError> {
        let path = self.device_path(address).join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SysfsError::Read { path, source }),
        }
    }
}

fn not_a_number(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not a number", text.trim()))
}

fn number(path: &Path) -> Result<u32, SysfsError> {
    let error = |source| SysfsError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(error)?;
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).map_err(|_| error(not_a_number(&text)))
}

/// Returns the last part of where a symbolic link points; `None` if there is no link.
fn link_name(path: &Path) -> Result<Option<String>, SysfsError> {
    match fs::read_link(path) {
        Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SysfsError::Read { path: path.to_owned(), source }),
    }
}

/// Names in a folder, sorted; none if there is no such folder.
fn names_in(path: &Path) -> Result<Vec<String>, SysfsError> {
    let error = |source| SysfsError::Read { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(error)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
pub(crate) mod made_up {
    //! A sysfs tree in a temporary folder.

    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    pub(crate) struct Tree {
        pub(crate) folder: tempfile::TempDir,
    }

    pub(crate) fn address(text: &str) -> PciAddress {
        text.parse().unwrap()
    }

    impl Tree {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("bus/pci/devices")).unwrap();
            Tree { folder }
        }

        pub(crate) fn sysfs(&self) -> Sysfs {
            Sysfs::at(self.folder.path())
        }

        pub(crate) fn path(&self, at: &str) -> PathBuf {
            self.sysfs().device_path(address(at))
        }

        pub(crate) fn write(&self, path: impl Into<PathBuf>, text: &str) {
            let path = self.folder.path().join(path.into());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Adds an Intel NIC.
        pub(crate) fn nic(&self, at: &str, driver: Option<&str>, group: Option<u32>) -> &Self {
            let folder = self.path(at);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in [
                ("vendor", "0x8086\n"),
                ("device", "0x100e\n"),
                ("subsystem_vendor", "0x1af4\n"),
                ("subsystem_device", "0x1100\n"),
                ("class", "0x020000\n"),
                ("driver_override", "(null)\n"),
            ] {
                fs::write(folder.join(file), text).unwrap();
            }
            if let Some(driver) = driver {
                self.bind(at, driver);
            }
            if let Some(group) = group {
                let group = self.folder.path().join(format!("kernel/iommu_groups/{group}"));
                fs::create_dir_all(group.join("devices")).unwrap();
                symlink(&folder, group.join("devices").join(folder.file_name().unwrap())).unwrap();
                symlink(&group, folder.join("iommu_group")).unwrap();
            }
            self
        }

        pub(crate) fn bind(&self, at: &str, driver: &str) {
            let driver = self.sysfs().driver_path(driver);
            fs::create_dir_all(&driver).unwrap();
            symlink(&driver, self.path(at).join("driver")).unwrap();
        }

        pub(crate) fn interface(&self, at: &str, name: &str, flags: u32) -> &Self {
            let interface = self.path(at).join("net").join(name);
            fs::create_dir_all(&interface).unwrap();
            fs::write(interface.join("flags"), format!("{flags:#x}\n")).unwrap();
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::made_up::{Tree, address};
    use super::*;

    #[test]
    fn a_function_is_listed_with_driver_group_and_interface() {
        let tree = Tree::new();
        tree.nic("0000:03:00.0", Some("e1000"), Some(7)).interface("0000:03:00.0", "eth0", 0x1003);
        tree.nic("0000:03:00.1", None, Some(7));
        tree.nic("0000:00:05.0", Some("vfio-pci"), None);
        let devices = tree.sysfs().devices().unwrap();
        assert_eq!(
            devices.iter().map(|d| d.address.to_string()).collect::<Vec<_>>(),
            ["0000:00:05.0", "0000:03:00.0", "0000:03:00.1"]
        );
        let nic = &devices[1];
        assert_eq!((nic.vendor, nic.device, nic.class), (0x8086, 0x100e, 0x020000));
        assert_eq!((nic.subsystem_vendor, nic.subsystem), (0x1af4, 0x1100));
        assert_eq!(nic.driver.as_deref(), Some("e1000"));
        assert_eq!(nic.interfaces, ["eth0"]);
        assert!(!nic.interface_elsewhere);
        let group = nic.group.as_ref().unwrap();
        assert_eq!((group.id, group.noiommu), (7, false));
        assert_eq!(group.members, [address("03:00.0"), address("03:00.1")]);
        assert_eq!(devices[0].group, None);
    }

    #[test]
    fn an_interface_in_another_namespace_is_noticed() {
        let tree = Tree::new();
        tree.nic("03:00.0", Some("e1000"), Some(7));
        std::fs::create_dir(tree.path("03:00.0").join("net")).unwrap();
        assert!(tree.sysfs().device(address("03:00.0")).unwrap().interface_elsewhere);
    }

    #[test]
    fn a_made_up_group_of_noiommu_mode_is_recognised() {
        let tree = Tree::new();
        tree.nic("03:00.0", Some("vfio-pci"), Some(0));
        tree.write("kernel/iommu_groups/0/name", "vfio-noiommu\n");
        assert!(tree.sysfs().device(address("03:00.0")).unwrap().group.unwrap().noiommu);
    }

    #[test]
    fn a_missing_function_and_a_damaged_file_are_distinguished() {
        let tree = Tree::new();
        tree.nic("03:00.0", None, None);
        let missing = tree.sysfs().device(address("04:00.0")).unwrap_err();
        assert!(matches!(missing, SysfsError::NoDevice(_)), "{missing}");
        std::fs::write(tree.path("03:00.0").join("vendor"), "?\n").unwrap();
        let damaged = tree.sysfs().device(address("03:00.0")).unwrap_err().to_string();
        assert!(damaged.contains("vendor"), "{damaged}");
    }
}
