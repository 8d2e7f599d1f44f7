//! VFIO's system calls, each with the checks that make it safe to call.
//!
//! Structures and constants come from `vfio-bindings`; the request numbers are `_IO(';', 100 + n)` (linux/vfio.h).
#![expect(unsafe_code, reason = "ioctl takes numbers and addresses, and the kernel believes them")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nook_bus::IovaRange;
use vfio_bindings::bindings::vfio as vb;

/// A VFIO request: its number after `VFIO_BASE`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Request {
    GetApiVersion = 0,
    CheckExtension = 1,
    SetIommu = 2,
    GroupGetStatus = 3,
    GroupSetContainer = 4,
    GroupGetDeviceFd = 6,
    DeviceGetInfo = 7,
    DeviceGetRegionInfo = 8,
    DeviceGetIrqInfo = 9,
    DeviceSetIrqs = 10,
    DeviceReset = 11,
    IommuGetInfo = 12,
    IommuMapDma = 13,
    IommuUnmapDma = 14,
}

/// # Safety
/// `argument` must be what the kernel expects for `request`: a value, or a pointer to a structure whose `argsz` (if
/// it has one) says how much may be read and written.
unsafe fn ioctl(file: &impl AsRawFd, request: Request, argument: usize) -> io::Result<i32> {
    let number = (libc::c_ulong::from(vb::VFIO_TYPE) << 8) | libc::c_ulong::from(vb::VFIO_BASE + request as u32);
    // SAFETY: the caller vouches for the argument.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), number, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// # Safety
/// `T` must be the structure of `request`, with `argsz` (if it has one) at most its size.
unsafe fn ioctl_with<T>(file: &impl AsRawFd, request: Request, structure: &mut T) -> io::Result<i32> {
    // SAFETY: a pointer to a live structure of the right type, as the caller vouches.
    unsafe { ioctl(file, request, std::ptr::from_mut(structure) as usize) }
}

/// Returns the API version of an open `/dev/vfio/vfio`.
pub(crate) fn api_version(container: &File) -> io::Result<i32> {
    // SAFETY: the request takes no argument.
    unsafe { ioctl(container, Request::GetApiVersion, 0) }
}

/// Returns whether the container knows an extension (`VFIO_TYPE1v2_IOMMU`).
pub(crate) fn has_extension(container: &File, extension: u32) -> io::Result<bool> {
    // SAFETY: takes a number.
    Ok(unsafe { ioctl(container, Request::CheckExtension, extension as usize) }? > 0)
}

/// Chooses the IOMMU model; possible once the container has a group.
pub(crate) fn set_iommu(container: &File, model: u32) -> io::Result<()> {
    // SAFETY: takes a number.
    unsafe { ioctl(container, Request::SetIommu, model as usize) }.map(drop)
}

/// Flags of a group (`VFIO_GROUP_FLAGS_*`).
pub(crate) fn group_flags(group: &File) -> io::Result<u32> {
    let mut status = vb::vfio_group_status { argsz: size_of::<vb::vfio_group_status>() as u32, flags: 0 };
    // SAFETY: the request's own structure with its own size.
    unsafe { ioctl_with(group, Request::GroupGetStatus, &mut status) }?;
    Ok(status.flags)
}

/// Puts a group into a container.
pub(crate) fn set_container(group: &File, container: &File) -> io::Result<()> {
    let mut fd: RawFd = container.as_raw_fd();
    // SAFETY: takes a pointer to a descriptor.
    unsafe { ioctl_with(group, Request::GroupSetContainer, &mut fd) }.map(drop)
}

/// Opens a device of the group.
pub(crate) fn device_fd(group: &File, name: &str) -> io::Result<File> {
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: takes a NUL-terminated name.
    let fd = unsafe { ioctl(group, Request::GroupGetDeviceFd, name.as_ptr() as usize) }?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Flags of a device (`VFIO_DEVICE_FLAGS_*`), how many regions and how many interrupt indices it has.
pub(crate) fn device_info(device: &File) -> io::Result<vb::vfio_device_info> {
    let mut info = vb::vfio_device_info { argsz: size_of::<vb::vfio_device_info>() as u32, ..Default::default() };
    // SAFETY: the request's own structure with its own size.
    unsafe { ioctl_with(device, Request::DeviceGetInfo, &mut info) }?;
    Ok(info)
}

/// One region of a device, and the parts of it that may be mapped if the kernel limits them.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// `VFIO_REGION_INFO_FLAG_*`.
    pub flags: u32,
    /// In bytes; 0 if the device has no such region.
    pub len_bytes: u64,
    /// Where it starts in the device's file.
    pub file_offset: u64,
    /// Offset and length of each part that may be mapped; `None`: all of it.
    pub sparse: Option<Vec<(u64, u64)>>,
}

/// Asks for region `index`.
pub(crate) fn region(device: &File, index: u32) -> io::Result<Region> {
    // The structure, and room for its capabilities; the kernel says when it is too little.
    let mut buffer = [0u64; 512];
    let info = vb::vfio_region_info { argsz: size_of_val(&buffer) as u32, index, ..Default::default() };
    // SAFETY: the buffer is larger than the structure and aligned for it.
    unsafe { buffer.as_mut_ptr().cast::<vb::vfio_region_info>().write(info) };
    // SAFETY: argsz is the whole buffer's size.
    unsafe { ioctl(device, Request::DeviceGetRegionInfo, buffer.as_mut_ptr() as usize) }?;
    // SAFETY: the buffer is larger than the structure, aligned for it and initialised, and any bytes are a value of it.
    let info = unsafe { buffer.as_ptr().cast::<vb::vfio_region_info>().read() };
    let bytes = as_bytes(&buffer);
    let sparse = (info.flags & vb::VFIO_REGION_INFO_FLAG_CAPS != 0)
        .then(|| capability(bytes, info.cap_offset, vb::VFIO_REGION_INFO_CAP_SPARSE_MMAP))
        .flatten()
        .map(|areas| pairs(areas, 8));
    Ok(Region { flags: info.flags, len_bytes: info.size, file_offset: info.offset, sparse })
}

/// Returns how many interrupts index `index` has; 0 if it has none or cannot signal an eventfd.
pub(crate) fn irq_count(device: &File, index: u32) -> io::Result<u32> {
    let mut info = vb::vfio_irq_info { argsz: size_of::<vb::vfio_irq_info>() as u32, index, ..Default::default() };
    // SAFETY: the request's own structure with its own size.
    unsafe { ioctl_with(device, Request::DeviceGetIrqInfo, &mut info) }?;
    Ok(if info.flags & vb::VFIO_IRQ_INFO_EVENTFD != 0 { info.count } else { 0 })
}

/// Aims the interrupts of `index`, from 0 up, at eventfds. None ends delivery.
pub(crate) fn set_irq_eventfds(device: &File, index: u32, eventfds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let data = if eventfds.is_empty() { vb::VFIO_IRQ_SET_DATA_NONE } else { vb::VFIO_IRQ_SET_DATA_EVENTFD };
    let fds: Vec<u32> = eventfds.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    set_irqs(device, data | vb::VFIO_IRQ_SET_ACTION_TRIGGER, index, fds.len() as u32, &fds)
}

/// Opens the INTx line again.
pub(crate) fn unmask_intx(device: &File) -> io::Result<()> {
    let flags = vb::VFIO_IRQ_SET_DATA_NONE | vb::VFIO_IRQ_SET_ACTION_UNMASK;
    set_irqs(device, flags, vb::VFIO_PCI_INTX_IRQ_INDEX, 1, &[])
}

fn set_irqs(device: &File, flags: u32, index: u32, count: u32, data: &[u32]) -> io::Result<()> {
    // struct vfio_irq_set is five words and then the data.
    let mut words = vec![0, flags, index, 0, count];
    words.extend_from_slice(data);
    words[0] = size_of_val(&words[..]) as u32;
    // SAFETY: argsz is the whole vector's size.
    unsafe { ioctl(device, Request::DeviceSetIrqs, words.as_mut_ptr() as usize) }.map(drop)
}

/// Resets the function; for devices with `VFIO_DEVICE_FLAGS_RESET`.
pub(crate) fn reset(device: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument.
    unsafe { ioctl(device, Request::DeviceReset, 0) }.map(drop)
}

/// What an IOMMU can map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IommuInfo {
    /// The smallest page, in bytes.
    pub page_bytes: u64,
    /// Ranges that may be mapped; empty if the kernel does not say.
    pub ranges: Vec<IovaRange>,
}

/// Asks the container's IOMMU.
pub(crate) fn iommu_info(container: &File) -> io::Result<IommuInfo> {
    let mut buffer = [0u64; 512];
    let info = vb::vfio_iommu_type1_info { argsz: size_of_val(&buffer) as u32, ..Default::default() };
    // SAFETY: the buffer is larger than the structure and aligned for it.
    unsafe { buffer.as_mut_ptr().cast::<vb::vfio_iommu_type1_info>().write(info) };
    // SAFETY: argsz is the whole buffer's size.
    unsafe { ioctl(container, Request::IommuGetInfo, buffer.as_mut_ptr() as usize) }?;
    // SAFETY: the buffer is larger than the structure, aligned for it and initialised, and any bytes are a value of it.
    let info = unsafe { buffer.as_ptr().cast::<vb::vfio_iommu_type1_info>().read() };
    let ranges = (info.flags & vb::VFIO_IOMMU_INFO_CAPS != 0)
        .then(|| capability(as_bytes(&buffer), info.cap_offset, vb::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE))
        .flatten()
        .map(|ranges| pairs(ranges, 8).into_iter().map(|(first, last)| IovaRange { first, last }).collect())
        .unwrap_or_default();
    let sizes = if info.flags & vb::VFIO_IOMMU_INFO_PGSIZES != 0 { info.iova_pgsizes } else { 0 };
    let page_bytes = if sizes == 0 { 4096 } else { 1 << sizes.trailing_zeros() };
    Ok(IommuInfo { page_bytes, ranges })
}

/// Lets the container's devices read and write `len_bytes` of this process's memory from `address` at `iova`.
///
/// # Safety
/// The memory must stay mapped, and be used through volatile or atomic accesses only, until it is unmapped from the
/// IOMMU or the container is closed.
pub(crate) unsafe fn map_dma(container: &File, address: *const u8, iova: u64, len_bytes: u64) -> io::Result<()> {
    let mut map = vb::vfio_iommu_type1_dma_map {
        argsz: size_of::<vb::vfio_iommu_type1_dma_map>() as u32,
        flags: vb::VFIO_DMA_MAP_FLAG_READ | vb::VFIO_DMA_MAP_FLAG_WRITE,
        vaddr: address as u64,
        iova,
        size: len_bytes,
    };
    // SAFETY: the request's own structure with its own size; the memory is the caller's promise.
    unsafe { ioctl_with(container, Request::IommuMapDma, &mut map) }.map(drop)
}

/// Takes a mapping away. The kernel answers how much it unmapped; anything but all of it is an error.
pub(crate) fn unmap_dma(container: &File, iova: u64, len_bytes: u64) -> io::Result<()> {
    let mut unmap = vb::vfio_iommu_type1_dma_unmap {
        argsz: size_of::<vb::vfio_iommu_type1_dma_unmap>() as u32,
        iova,
        size: len_bytes,
        ..Default::default()
    };
    // SAFETY: the request's own structure with its own size.
    unsafe { ioctl_with(container, Request::IommuUnmapDma, &mut unmap) }?;
    if unmap.size != len_bytes {
        return Err(io::Error::other(format!("only {:#x} of {len_bytes:#x} bytes were unmapped", unmap.size)));
    }
    Ok(())
}

fn as_bytes(words: &[u64]) -> &[u8] {
    // SAFETY: the same memory, initialised, with a weaker alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Returns the body (what follows the header) of capability `id` in a chain that starts at `offset`. A header is id and
/// version (16 bit each) and the next header's offset, which must lead forward: a loop would never end.
fn capability(bytes: &[u8], offset: u32, id: u32) -> Option<&[u8]> {
    let mut at = offset as usize;
    while at != 0 {
        let (head, next) = (word(bytes, at)?, word(bytes, at + 4)? as usize);
        if head & 0xffff == id {
            return bytes.get(at + 8..);
        }
        if next <= at {
            return None;
        }
        at = next;
    }
    None
}

/// Reads a counted list of pairs of 64-bit numbers: the count, then `skip` bytes after its start the pairs.
fn pairs(body: &[u8], skip: usize) -> Vec<(u64, u64)> {
    let count = word(body, 0).unwrap_or(0) as usize;
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    body.get(skip..)
        .unwrap_or_default()
        .chunks_exact(16)
        .take(count)
        .map(|pair| (number(&pair[..8]), number(&pair[8..])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Vec<u8> {
        let mut bytes = vec![0; 24];
        for words in [[3u32, 40, 7, 7], [1, 0, 2, 0]] {
            bytes.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        }
        for number in [0u64, 0xfedf_ffff, 0xfef0_0000, u64::MAX, 0xbad, 0xbad] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn iova_ranges_are_found_behind_another_capability() {
        let bytes = chain();
        let body = capability(&bytes, 24, vb::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE).unwrap();
        assert_eq!(pairs(body, 8), [(0, 0xfedf_ffff), (0xfef0_0000, u64::MAX)]);
        assert!(capability(&bytes, 24, 9).is_none());
    }

    #[test]
    fn a_damaged_chain_ends_the_search() {
        let mut bytes = chain();
        bytes[28] = 24;
        assert!(capability(&bytes, 24, 1).is_none());
        assert!(capability(&bytes, 4000, 1).is_none());
    }

    #[test]
    fn a_file_that_is_not_a_container_gives_an_error() {
        let file = File::open("/dev/null").unwrap();
        assert!(api_version(&file).is_err());
        assert!(iommu_info(&file).is_err());
    }
}
