//! The memory of an instance, mapped twice: once for the host, and once for the driver, behind its key and with the
//! protection that its parts have.
//!
//! `[image | table of hostcalls | gates | guard | stack | heap, host page, queues]`, and elsewhere the window. The host
//! reads and writes its own mapping: no thread but the driver's, in a call, has rights to the other.
#![expect(unsafe_code, reason = "mappings, and writing to one of them")]

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use nook_abi::{HOSTCALLS, NativeServices};
use nook_runtime::{Host, Layout, OwnedManifest, RegionAddrs, Space};
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::gate;
use crate::keys::Key;
use crate::object::Image;

pub(crate) const PAGE: u64 = 4096;
/// The same as in wasm.
const STACK_BYTES: u64 = 128 << 10;
/// Below the stack. The compiler probes larger frames page by page.
const GUARD_BYTES: u64 = 64 << 10;

/// Where things are in an instance's memory.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The table of hostcalls: one page.
    services: u64,
    /// The gates.
    gates: u64,
    guard: u64,
    stack: u64,
    layout: Layout,
    /// All of it, in whole pages.
    bytes: u64,
}

impl Places {
    pub(crate) fn new(image: &Image, manifest: &OwnedManifest) -> Places {
        assert!(size_of::<NativeServices>() as u64 <= PAGE, "the table fits a page");
        let services = image.bytes;
        let gates = services + PAGE;
        let guard = gates + gate::stubs_bytes(HOSTCALLS.len() + 2).next_multiple_of(PAGE);
        let stack = guard + GUARD_BYTES;
        let layout = Layout::new(stack + STACK_BYTES, manifest);
        let bytes = layout.rings_end.next_multiple_of(PAGE);
        Places { services, gates, guard, stack, layout, bytes }
    }
}

/// A mapping.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: u64, protection: i32, file: Option<&dyn AsRawFd>) -> io::Result<Mapping> {
        let (flags, fd) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1),
        };
        // SAFETY: a new mapping, at an address that the kernel picks, replaces nothing.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes as usize, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { base, bytes: bytes as usize })
    }

    fn address(&self) -> u64 {
        self.base.as_ptr().addr() as u64
    }

    /// Puts a part of `file`, at the same offset, in the place of a part of this one, with this protection and key.
    fn put(&self, file: &File, part: std::ops::Range<u64>, protection: i32, key: &Key) -> io::Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        let at = self.base.as_ptr().wrapping_add(part.start as usize).cast();
        let bytes = (part.end - part.start) as usize;
        assert!(part.end <= self.bytes as u64, "inside the mapping");
        // SAFETY: replaces a part of this mapping, which is not used yet.
        let mapped = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            libc::mmap(at, bytes, libc::PROT_NONE, flags, file.as_raw_fd(), part.start as i64)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        self.protect(part, protection, key)
    }

    fn protect(&self, part: std::ops::Range<u64>, protection: i32, key: &Key) -> io::Result<()> {
        let at = self.base.as_ptr().wrapping_add(part.start as usize);
        // SAFETY: a part of this mapping, which nothing but a driver uses.
        let answer = unsafe {
            libc::syscall(libc::SYS_pkey_mprotect, at, (part.end - part.start) as usize, protection, key.number())
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped as much there; what had its address is gone. It cannot fail.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The memory of one instance.
pub(crate) struct DomainMemory {
    host: Mapping,
    inside: Mapping,
    window: Mapping,
    places: Places,
    // Dropped after what has it.
    key: Key,
}

// SAFETY: mappings belong to no thread.
unsafe impl Send for DomainMemory {}

impl DomainMemory {
    /// Loads a fresh copy of `image`, whose gates lead to `context`.
    pub(crate) fn new(image: &Image, places: &Places, host: &Host, key: Key, context: u64) -> io::Result<Self> {
        let create = |flags| memfd_create(c"nook-domain", flags);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know the flag, and let everybody execute.
        let file = File::from(create(flags | MemfdFlags::EXEC).or_else(|_| create(flags))?);
        file.set_len(places.bytes)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        let window = host.window();
        let memory = DomainMemory {
            host: Mapping::new(places.bytes, read_write, Some(&file))?,
            inside: Mapping::new(places.bytes, libc::PROT_NONE, None)?,
            window: Mapping::new(window.len_bytes(), libc::PROT_NONE, Some(&window.fd().as_fd()))?,
            places: places.clone(),
            key,
        };
        memory.fill(image, context);
        let (inside, key) = (&memory.inside, &memory.key);
        for segment in &image.segments {
            let writes = if segment.writes { libc::PROT_WRITE } else { 0 };
            let executes = if segment.executes { libc::PROT_EXEC } else { 0 };
            inside.put(&file, segment.pages(), libc::PROT_READ | writes | executes, key)?;
        }
        if !image.fixed.is_empty() {
            inside.protect(image.fixed.clone(), libc::PROT_READ, key)?;
        }
        inside.put(&file, places.services..places.gates, libc::PROT_READ, key)?;
        inside.put(&file, places.gates..places.guard, libc::PROT_READ | libc::PROT_EXEC, key)?;
        inside.put(&file, places.stack..places.bytes, read_write, key)?;
        memory.window.protect(0..memory.window.bytes as u64, read_write, key)?;
        Ok(memory)
    }

    fn fill(&self, image: &Image, context: u64) {
        for segment in &image.segments {
            self.write(segment.at, &segment.data);
        }
        for &(place, addend) in &image.relocations {
            self.write(place, &(self.inside.address().wrapping_add(addend)).to_le_bytes());
        }
        let gates = gate::stubs(HOSTCALLS.len() + 2, context);
        self.write(self.places.gates, &gates);
        for index in 0..HOSTCALLS.len() + 1 {
            let address = self.inside.address() + self.places.gates + gate::stubs_bytes(index);
            self.write(self.places.services + index as u64 * 8, &address.to_le_bytes());
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let end = at.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= self.host.bytes as u64), "inside the mapping");
        let to = self.host.base.as_ptr().wrapping_add(at as usize);
        // SAFETY: inside the host's mapping, and the driver does not run.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Returns the driver's address of what the image has there.
    pub(crate) fn address(&self, in_image: u64) -> u64 {
        self.inside.address() + in_image
    }

    /// Returns a copy of the driver's memory at one of its addresses, if it lies there. For handlers: the host's
    /// mapping is read.
    pub(crate) fn copied<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let at = address.checked_sub(self.inside.address())?;
        if at.checked_add(N as u64)? > self.host.bytes as u64 {
            return None;
        }
        // SAFETY: inside the host's mapping; a driver that runs is interrupted.
        Some(unsafe { self.host.base.as_ptr().wrapping_add(at as usize).cast::<[u8; N]>().read_volatile() })
    }

    /// Returns the driver's address of the table of hostcalls.
    pub(crate) fn services(&self) -> u64 {
        self.inside.address() + self.places.services
    }

    /// Returns the driver's address of the gate through which a call returns.
    pub(crate) fn way_out(&self) -> u64 {
        self.inside.address() + self.places.gates + gate::stubs_bytes(HOSTCALLS.len() + 1)
    }

    /// Returns the driver's address of its stack's upper end.
    pub(crate) fn stack_end(&self) -> u64 {
        self.inside.address() + self.places.stack + STACK_BYTES
    }

    /// Returns what an address is counted from the image, if it lies in it.
    pub(crate) fn in_image(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.inside.address()).filter(|&at| at < self.places.services)
    }

    /// Returns whether an address lies in the guard below the stack.
    pub(crate) fn in_guard(&self, address: u64) -> bool {
        self.is_between(address, self.places.guard, self.places.stack)
    }

    /// Returns whether an address lies in the stack.
    pub(crate) fn in_stack(&self, address: u64) -> bool {
        self.is_between(address, self.places.stack, self.places.stack + STACK_BYTES)
    }

    fn is_between(&self, address: u64, begin: u64, end: u64) -> bool {
        address.checked_sub(self.inside.address()).is_some_and(|at| (begin..end).contains(&at))
    }

    /// Returns the key.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the memory as its host sees it, with the driver's addresses.
    ///
    /// # Safety
    /// The memory outlives every use of the result.
    pub(crate) unsafe fn space(&self) -> Space {
        let at = |offset: u64| self.inside.address() + offset;
        let Layout { own_bytes, host_page, rings, .. } = self.places.layout;
        let places = RegionAddrs {
            heap: at(own_bytes),
            host_page: at(host_page),
            rings: rings.map(at),
            window: self.window.address(),
        };
        // SAFETY: host page and rings lie inside the mapping and are aligned as in a wasm memory; the caller keeps it.
        unsafe { Space::beginning_at(self.inside.address(), self.host.base.as_ptr(), self.host.bytes as u64, places) }
    }
}
