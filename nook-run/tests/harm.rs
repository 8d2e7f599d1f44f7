//! What a campaign calls harm to its process, planted kind by kind. Alone in its process, and one after the other: what
//! is counted is the process's.

#[path = "../src/campaign/harm.rs"]
mod harm;

use std::ffi::c_void;
use std::fs::File;
use std::hint::black_box;
use std::ptr::null_mut;

use harm::Before;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Returns what is said of what `keep` leaves behind.
#[track_caller]
fn of<T>(keep: impl FnOnce() -> T) -> String {
    let before = Before::now().unwrap();
    let kept = keep();
    let harm = before.harm().unwrap().expect("it is found");
    drop(kept);
    // What is gone again is no harm.
    assert_eq!(before.harm().unwrap(), None);
    harm
}

#[test]
fn each_kind_of_harm_is_found() {
    let before = Before::now().unwrap();
    assert_eq!(before.harm().unwrap(), None);

    let harm = of(|| File::open("/dev/null").unwrap());
    assert!(harm.contains("descriptors were open before"), "{harm}");

    let harm = of(|| Mapping::new(1 << 20));
    assert!(harm.contains("DMA windows were mapped before"), "{harm}");

    let harm = of(|| black_box(vec![1u8; 200 << 20]));
    assert!(harm.contains("MiB of memory stay"), "{harm}");

    let harm = of(|| reserve(1 << 30));
    assert!(harm.contains("MiB of addresses"), "{harm}");

    let mut before = Before::now().unwrap();
    before.canary[77] ^= 1;
    assert_eq!(before.harm().unwrap().as_deref(), Some("memory of the process was written to"));
}

/// Address space without memory, as a wasm instance takes it.
fn reserve(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

/// What stays of a DMA window whose descriptor was closed.
struct Mapping(*mut c_void, usize);

impl Mapping {
    fn new(bytes: usize) -> Self {
        let file = memfd_create("window", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, bytes as u64).unwrap();
        #[expect(unsafe_code, reason = "nothing safe maps memory and forgets its descriptor")]
        // SAFETY: the kernel chooses an address where nothing is.
        let at = unsafe { mmap(null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, &file, 0) };
        Mapping(at.unwrap(), bytes)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "it was mapped here")]
        // SAFETY: it was mapped by `new`, and nothing refers to it.
        unsafe { munmap(self.0, self.1) }.unwrap();
    }
}
