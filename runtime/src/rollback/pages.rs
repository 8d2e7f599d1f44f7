//! Rollback by pages: the kernel notes which pages of a driver's private memory were written, and a copy of each
//! as it was when the call began restores it.
//!
//! The pages are write-protected asynchronously (userfaultfd, `UFFD_FEATURE_WP_ASYNC`): the first write to a page
//! takes the protection off without telling anybody, and `PAGEMAP_SCAN` finds those pages and protects them again
//! (both since Linux 6.7; include/uapi/linux/userfaultfd.h and fs.h). A call costs a scan and a copy of each page that
//! it wrote, however often, instead of a record for each store.
//!
//! It sees only what is written through this mapping: for memory that a device writes too it would be wrong both ways,
//! blind to the device's writes and fatal to those that share a page with the driver's. So it is for private memory
//! alone, and the stores that go elsewhere are logged; see
//! [`Options::private_is_kept`](nook_instrument::undo::Options).
#![expect(unsafe_code, reason = "system calls, and memory that wasm code has")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use wasmtime::{AsContext, AsContextMut, Memory};

const PAGE: usize = 4096;
/// Ranges of pages that one scan gives at most.
const RANGES: usize = 64;

/// One driver's private memory as it was when the last call began.
pub struct Pages {
    memory: Memory,
    kept: Vec<u8>,
    tracker: WriteTracker,
    ranges: Vec<PageRegion>,
    /// What has made `kept` useless for the call that runs.
    failed: Option<io::Error>,
}

impl Pages {
    /// Watches the first `private_bytes` of a memory, which nothing but wasm code and this process's host writes.
    ///
    /// # Errors
    /// If this kernel cannot.
    ///
    /// # Panics
    /// If that is more than the memory, or not whole pages.
    pub fn of(mut store: impl AsContextMut, memory: Memory, private_bytes: usize) -> io::Result<Pages> {
        assert!(private_bytes <= memory.data_size(&store) && private_bytes.is_multiple_of(PAGE), "not of this memory");
        let base = memory.data_ptr(&mut store);
        // SAFETY: a range of memory that was mapped for wasm; its content stays as it is.
        let tracker = unsafe { WriteTracker::new(base, private_bytes)? };
        let mut kept = vec![0; private_bytes];
        // SAFETY: both have this many bytes, and the caller has the store, so no wasm code runs.
        unsafe { ptr::copy_nonoverlapping(base, kept.as_mut_ptr(), private_bytes) };
        Ok(Pages { memory, kept, tracker, ranges: vec![PageRegion::default(); RANGES], failed: None })
    }

    /// Checks whether this kernel can track pages like this.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported() -> io::Result<()> {
        let len = 2 * PAGE;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping at an address that the kernel picks.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = base.cast::<u8>();
        let mut ranges = [PageRegion::default(); 2];
        // SAFETY: the mapping is two pages long and nobody else's. It is written between two scans.
        let found = unsafe {
            base.write_volatile(1);
            WriteTracker::new(base, len).and_then(|tracker| {
                base.add(PAGE).write_volatile(1);
                tracker.written(base, len, &mut ranges, false).map(|(count, _)| count)
            })
        };
        // SAFETY: unmaps exactly what was mapped; the tracker is closed.
        unsafe { libc::munmap(base.cast(), len) };
        let second = base.addr() + PAGE;
        match found? {
            1 if ranges[0].start == second as u64 => Ok(()),
            _ => Err(io::Error::other("the kernel does not say which pages were written")),
        }
    }

    /// Begins a call: what can be restored is memory as it is now.
    pub fn begin(&mut self, store: impl AsContext) {
        let base = self.memory.data_ptr(&store);
        let Pages { tracker, ranges, kept, .. } = self;
        let outcome = each_written(tracker, base, kept.len(), ranges, true, |at, len| {
            // SAFETY: the range lies in both, and the caller has the store, so no wasm code runs.
            unsafe { ptr::copy_nonoverlapping(base.add(at), kept.as_mut_ptr().add(at), len) };
        });
        // What was found before a failure is protected again and noted; what was not is found the next time.
        self.failed = outcome.err();
    }

    /// Restores memory to what it was when the call began. Returns how many bytes were written back.
    ///
    /// # Errors
    /// If the kernel does not say what was written.
    pub fn roll_back(&mut self, store: impl AsContext) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let base = self.memory.data_ptr(&store);
        let Pages { tracker, ranges, kept, .. } = self;
        let mut bytes = 0;
        each_written(tracker, base, kept.len(), ranges, false, |at, len| {
            bytes += len;
            // SAFETY: as in `begin`.
            unsafe { ptr::copy_nonoverlapping(kept.as_ptr().add(at), base.add(at), len) };
        })?;
        Ok(bytes)
    }
}

/// Calls `each` with every range of bytes that was written.
fn each_written(
    tracker: &WriteTracker,
    base: *const u8,
    len: usize,
    ranges: &mut [PageRegion],
    protect: bool,
    mut each: impl FnMut(usize, usize),
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        // SAFETY: the rest of the memory that is watched.
        let (count, end) = unsafe { tracker.written(base.add(done), len - done, ranges, protect)? };
        for range in &ranges[..count] {
            let at = range.start as usize - base.addr();
            each(at, (range.end - range.start) as usize);
        }
        done = end - base.addr();
    }
    Ok(())
}

/// A range whose writes the kernel notes.
struct WriteTracker {
    /// Closed, it takes the protection away.
    _uffd: OwnedFd,
    pagemap: File,
}

/// `struct uffdio_api`.
#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// Returns the number of an ioctl that reads and writes its argument (asm-generic/ioctl.h).
const fn iowr<T>(kind: u8, number: u8) -> libc::c_ulong {
    3 << 30 | (size_of::<T>() as libc::c_ulong) << 16 | (kind as libc::c_ulong) << 8 | number as libc::c_ulong
}

const UFFDIO_API: libc::c_ulong = iowr::<UffdioApi>(0xaa, 0x3f);
const UFFDIO_REGISTER: libc::c_ulong = iowr::<UffdioRegister>(0xaa, 0x00);
const PAGEMAP_SCAN: libc::c_ulong = iowr::<PmScanArg>(b'f', 16);

/// `UFFD_API`, the only one there is.
const API: u64 = 0xaa;
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;

impl WriteTracker {
    /// Begins to track writes to these `len` bytes.
    ///
    /// # Safety
    /// They are whole pages of a private mapping of this process.
    unsafe fn new(base: *mut u8, len: usize) -> io::Result<WriteTracker> {
        let flags = libc::O_CLOEXEC | UFFD_USER_MODE_ONLY;
        // SAFETY: it takes flags only; the answer is checked.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let uffd = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
        let features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED;
        let mut api = UffdioApi { api: API, features, ioctls: 0 };
        // SAFETY: the request's own argument.
        unsafe { ioctl(&uffd, UFFDIO_API, &mut api)? };
        // A huge page would be written as a whole. If the kernel has none, that is well too.
        // SAFETY: it changes how the range is backed, and nothing in it.
        unsafe { libc::madvise(base.cast(), len, libc::MADV_NOHUGEPAGE) };
        let (start, mode) = (base.addr() as u64, UFFDIO_REGISTER_MODE_WP);
        let mut register = UffdioRegister { start, len: len as u64, mode, ioctls: 0 };
        // SAFETY: the request's own argument; with asynchronous protection alone, no access waits for anybody.
        unsafe { ioctl(&uffd, UFFDIO_REGISTER, &mut register)? };
        let tracker = WriteTracker { _uffd: uffd, pagemap: File::open("/proc/self/pagemap")? };
        let mut ranges = [PageRegion::default(); RANGES];
        each_written(&tracker, base, len, &mut ranges, true, |_, _| {})?;
        Ok(tracker)
    }

    /// Finds the pages of `[base, base + len)` that were written since they were protected: how many of `ranges` are
    /// filled, and how far they reach. They are protected again if `protect`.
    ///
    /// # Safety
    /// It is a part of the range that is watched.
    unsafe fn written(
        &self,
        base: *const u8,
        len: usize,
        ranges: &mut [PageRegion],
        protect: bool,
    ) -> io::Result<(usize, usize)> {
        let start = base.addr() as u64;
        let mut arg = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags: PM_SCAN_CHECK_WPASYNC | if protect { PM_SCAN_WP_MATCHING } else { 0 },
            start,
            end: start + len as u64,
            vec: ranges.as_mut_ptr().addr() as u64,
            vec_len: ranges.len() as u64,
            category_mask: PAGE_IS_WRITTEN,
            return_mask: PAGE_IS_WRITTEN,
            ..PmScanArg::default()
        };
        // Pointers are made from addresses by the kernel.
        ranges.as_mut_ptr().expose_provenance();
        // SAFETY: the request's own argument, with room for this many ranges; protection changes no content.
        let count = unsafe { ioctl(&self.pagemap, PAGEMAP_SCAN, &mut arg)? };
        if arg.walk_end <= start {
            return Err(io::Error::other("a scan of the page map does not get on"));
        }
        Ok((count, arg.walk_end as usize))
    }
}

/// # Safety
/// `T` is what the request takes, and what it asks for is sound.
unsafe fn ioctl<T>(fd: &impl AsRawFd, request: libc::c_ulong, argument: &mut T) -> io::Result<usize> {
    // SAFETY: as the caller promises.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request, ptr::from_mut(argument)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as usize) }
}
