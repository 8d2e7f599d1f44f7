//! From an address to an open device: group, container, IOMMU; with a reason and a remedy for each way it can fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nook_bus::DeviceError;
use vfio_bindings::bindings::vfio as vb;

use crate::bind::{HARMLESS, VFIO_PCI};
use crate::holders::holders_of;
use crate::sys::{self, IommuInfo};
use crate::{PciAddress, PciFunction, Sysfs, SysfsError};

/// Why a device cannot be driven.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such device, or sysfs is not as it should be.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// A kernel driver has it, or none.
    #[error("{address} is bound to {}, not to vfio-pci; `nook-run bind {address}` binds it",
            driver.as_deref().unwrap_or("no driver"))]
    NotBound {
        /// The device.
        address: PciAddress,
        /// Who has it.
        driver: Option<String>,
    },
    /// Its DMA would reach all of memory.
    #[error(
        "{address} {why}, so its DMA could reach all of memory, and nook does not drive it. Enable VT-d or \
             AMD-Vi in the firmware and boot with intel_iommu=on (Intel); `nook-run doctor` checks"
    )]
    NoIommu {
        /// The device.
        address: PciAddress,
        /// What was found.
        why: String,
    },
    /// It is a virtio device that does not ask the IOMMU.
    #[error(
        "{address} does not offer ACCESS_PLATFORM, so it goes to memory past the IOMMU, and nothing would confine its \
             driver: where it is QEMU's, give it disable-legacy=on,iommu_platform=on; docs/virtio.md says more"
    )]
    PastIommu {
        /// The device.
        address: PciAddress,
    },
    /// Other members of the group are in use by kernel drivers.
    #[error("IOMMU group {group} of {address} is not viable: {} still in use by the kernel; bind them with \
             `nook-run bind`, too, or put the card into another slot", members.join(", "))]
    NotViable {
        /// The device.
        address: PciAddress,
        /// Its group.
        group: u32,
        /// The members in the way, and their drivers.
        members: Vec<String>,
    },
    /// No right to open the device node.
    #[error("no permission to open {}; run as root, or give yourself the group: `chown $USER {}`", path.display(), path.display())]
    NotPermitted {
        /// Which node.
        path: PathBuf,
    },
    /// Somebody else has it open.
    #[error("{} is in use{}; end that process first", path.display(), by(holders))]
    Busy {
        /// Which node.
        path: PathBuf,
        /// Processes that have it open, as far as this user may see.
        holders: Vec<String>,
    },
    /// The kernel has no VFIO.
    #[error("{} does not exist: the kernel's VFIO modules are not loaded; try `modprobe vfio-pci`", path.display())]
    NoVfio {
        /// The missing node.
        path: PathBuf,
    },
    /// The machine cannot confine interrupts.
    #[error(
        "the kernel refuses VFIO for {address} because interrupts cannot be remapped: a device could send any \
             interrupt. Enable interrupt remapping (x2APIC, VT-d) in the firmware; `nook-run doctor` checks"
    )]
    NoInterruptRemapping {
        /// The device.
        address: PciAddress,
    },
    /// The device or the kernel refused.
    #[error("opening {address}: {source}")]
    Device {
        /// The device.
        address: PciAddress,
        /// What was tried, and the answer.
        #[source]
        source: DeviceError,
    },
}

fn by(holders: &[String]) -> String {
    if holders.is_empty() { " by another process".into() } else { format!(" by process {}", holders.join(", ")) }
}

/// An open device with all that it hangs on. Closing order matters to the kernel: device, group, container, which is
/// the order of the fields.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) device: File,
    _group: File,
    pub(crate) container: File,
    pub(crate) iommu: IommuInfo,
}

/// Opens the function at `address`, which is bound to vfio-pci.
pub(crate) fn open(sysfs: &Sysfs, address: PciAddress) -> Result<Handles, OpenError> {
    let function = sysfs.device(address)?;
    let group_id = usable_group(&function)?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| OpenError::Device { address, source: DeviceError::os(what, source) }
    };

    let container = open_node(Path::new("/dev/vfio/vfio"))?;
    let version = sys::api_version(&container).map_err(failed("asking for VFIO's version"))?;
    if version as u32 != vb::VFIO_API_VERSION {
        let error = io::Error::other(format!("it is {version}, and nook knows {}", vb::VFIO_API_VERSION));
        return Err(failed("checking VFIO's version")(error));
    }
    let group = open_node(Path::new(&format!("/dev/vfio/{group_id}")))?;
    let flags = sys::group_flags(&group).map_err(failed("asking for the group's state"))?;
    if flags & vb::VFIO_GROUP_FLAGS_VIABLE == 0 {
        return Err(OpenError::NotViable { address, group: group_id, members: in_the_way(sysfs, &function)? });
    }
    let type1 = sys::has_extension(&container, vb::VFIO_TYPE1v2_IOMMU).map_err(failed("asking for Type1 IOMMU"))?;
    if !type1 {
        let error = io::Error::other("the kernel has no support for it; try `modprobe vfio_iommu_type1`");
        return Err(failed("asking for Type1 IOMMU")(error));
    }
    sys::set_container(&group, &container).map_err(failed("putting the group into a container"))?;
    sys::set_iommu(&container, vb::VFIO_TYPE1v2_IOMMU).map_err(|error| match error.raw_os_error() {
        // vfio_iommu_type1 answers EPERM to say this, and nothing else.
        Some(libc::EPERM) => OpenError::NoInterruptRemapping { address },
        _ => failed("turning the IOMMU on for the group")(error),
    })?;
    let iommu = sys::iommu_info(&container).map_err(failed("asking for the IOMMU's ranges"))?;
    let device = sys::device_fd(&group, &address.to_string()).map_err(failed("opening the device of the group"))?;
    Ok(Handles { device, _group: group, container, iommu })
}

/// Returns the function's group, if it is one that VFIO may use.
fn usable_group(function: &PciFunction) -> Result<u32, OpenError> {
    let address = function.address;
    let no_iommu = |why: &str| OpenError::NoIommu { address, why: why.to_owned() };
    let group = function.group.as_ref().ok_or_else(|| no_iommu("has no IOMMU group"))?;
    if group.noiommu {
        return Err(no_iommu("is only in a made-up group of VFIO's no-IOMMU mode"));
    }
    if function.driver.as_deref() != Some(VFIO_PCI) {
        return Err(OpenError::NotBound { address, driver: function.driver.clone() });
    }
    Ok(group.id)
}

/// Members of the function's group that keep it from being viable.
fn in_the_way(sysfs: &Sysfs, function: &PciFunction) -> Result<Vec<String>, SysfsError> {
    let mut found = Vec::new();
    for member in function.group.iter().flat_map(|group| &group.members) {
        let driver = sysfs.device(*member)?.driver;
        if let Some(driver) = driver.filter(|driver| !HARMLESS.contains(&driver.as_str())) {
            found.push(format!("{member} ({driver})"));
        }
    }
    if found.is_empty() {
        found.push("a member".into());
    }
    Ok(found)
}

fn open_node(path: &Path) -> Result<File, OpenError> {
    let path = path.to_owned();
    OpenOptions::new().read(true).write(true).open(&path).map_err(|error| match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => OpenError::NotPermitted { path },
        Some(libc::EBUSY) => {
            let holders = holders_of(Path::new("/proc"), &path);
            OpenError::Busy { path, holders }
        }
        // ENODEV and ENXIO: a device node without its module.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => OpenError::NoVfio { path },
        _ => OpenError::Sysfs(SysfsError::Read { path, source: error }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::made_up::{Tree, address};

    fn refusal(tree: &Tree) -> String {
        open(&tree.sysfs(), address("03:00.0")).unwrap_err().to_string()
    }

    #[test]
    fn a_device_of_a_kernel_driver_is_refused_with_the_command_that_binds_it() {
        let tree = Tree::new();
        tree.nic("03:00.0", Some("e1000"), Some(7));
        let message = refusal(&tree);
        assert!(message.contains("bound to e1000") && message.contains("nook-run bind 0000:03:00.0"), "{message}");
    }

    #[test]
    fn a_device_without_an_iommu_is_refused_even_in_noiommu_mode() {
        let tree = Tree::new();
        tree.nic("03:00.0", Some("vfio-pci"), None);
        assert!(refusal(&tree).contains("no IOMMU group"));
        let tree = Tree::new();
        tree.nic("03:00.0", Some("vfio-pci"), Some(0));
        tree.write("kernel/iommu_groups/0/name", "vfio-noiommu\n");
        assert!(refusal(&tree).contains("no-IOMMU mode"));
    }

    #[test]
    fn members_in_the_way_are_named_with_their_drivers() {
        let tree = Tree::new();
        tree.nic("03:00.0", Some("vfio-pci"), Some(7));
        tree.nic("03:00.1", Some("e1000"), Some(7));
        tree.nic("03:00.2", Some("pci-stub"), Some(7));
        let function = tree.sysfs().device(address("03:00.0")).unwrap();
        assert_eq!(in_the_way(&tree.sysfs(), &function).unwrap(), ["0000:03:00.1 (e1000)"]);
    }

    #[test]
    fn a_missing_node_is_answered_with_the_module() {
        let message = open_node(Path::new("/dev/vfio/no-such-group")).unwrap_err().to_string();
        assert!(message.contains("modprobe vfio-pci"), "{message}");
    }
}
