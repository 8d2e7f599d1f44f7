//! DMA that the IOMMU blocked, as far as the kernel tells: VFIO does not, but the kernel log does.
//!
//! Kernels limit how often they log such faults, so the count is a lower bound, and 0 where the log may not be read.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use crate::PciAddress;

/// Faults of one device since it was opened.
#[derive(Debug)]
pub(crate) struct FaultLog {
    log: Option<File>,
    address: PciAddress,
    count: u64,
}

impl FaultLog {
    /// Opens the kernel log at its end.
    pub(crate) fn open(address: PciAddress) -> Self {
        let log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").and_then(|mut log| {
            log.seek(SeekFrom::End(0))?;
            Ok(log)
        });
        if let Err(error) = &log {
            tracing::debug!(%address, %error, "the kernel log cannot be read; blocked DMA will not be counted");
        }
        FaultLog { log: log.ok(), address, count: 0 }
    }

    /// Reads what was logged since the last call, and says how many faults there were in all.
    pub(crate) fn count(&mut self) -> u64 {
        let Some(log) = &mut self.log else { return self.count };
        let mut record = [0; 8192];
        // One record a read. Readers that fell behind get EPIPE once, and then go on with the oldest record left.
        for _ in 0..10_000 {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(len) => {
                    let text = String::from_utf8_lossy(&record[..len]);
                    self.count += u64::from(is_fault_of(self.address, &text));
                }
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => break,
            }
        }
        self.count
    }
}

/// Returns whether a line of the kernel log tells of a blocked access by `address`.
///
/// Intel: `DMAR: [DMA Read NO_PASID] Request device [00:05.0] fault addr 0x20000000 ...` (the domain is left out, or
/// comes as `0000:00:05.0`). AMD: `vfio-pci 0000:00:05.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=...`.
fn is_fault_of(address: PciAddress, line: &str) -> bool {
    let full = address.to_string();
    // Intel's device name has a domain in some kernels; the closing bracket ends it in all.
    let short = full.split_once(':').map_or("", |(_, rest)| rest);
    let intel = line.contains("DMAR:")
        && line.contains("fault addr")
        && (line.contains(&format!("[{short}]")) || line.contains(&format!("[{full}]")));
    let amd = line.contains("AMD-Vi") && line.contains("IO_PAGE_FAULT") && line.contains(&full);
    intel || amd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_this_device_are_distinguished_from_those_of_others() {
        let address: PciAddress = "00:05.0".parse().unwrap();
        let intel = "3,417,5120,-;DMAR: [DMA Read NO_PASID] Request device [00:05.0] fault addr 0x20000000 \
                     [fault reason 0x06] PTE Read access is not set";
        let amd = "vfio-pci 0000:00:05.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0x20000000]";
        assert!(is_fault_of(address, intel));
        assert!(is_fault_of(address, &intel.replace("[00:05.0]", "[0000:00:05.0]")));
        assert!(is_fault_of(address, amd));
        assert!(!is_fault_of("00:06.0".parse().unwrap(), intel));
        assert!(!is_fault_of("00:06.0".parse().unwrap(), amd));
        assert!(!is_fault_of(address, "DMAR: DRHD: handling fault status reg 2"));
    }
}
