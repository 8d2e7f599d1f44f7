//! Writing old bytes back into memory that a device may share: no reference is made to it.
#![expect(unsafe_code, reason = "memory that others can write is reached through raw pointers only")]

use std::marker::PhantomData;
use std::ptr;

use wasmtime::{Memory, Store};

/// Where a driver's memory is, looked up once for a whole log. The store cannot be used otherwise meanwhile.
pub(super) struct Shared<'a> {
    begin: *mut u8,
    len_bytes: usize,
    store: PhantomData<&'a ()>,
}

impl<'a> Shared<'a> {
    pub(super) fn of<T>(store: &'a Store<T>, memory: &Memory) -> Self {
        Shared { begin: memory.data_ptr(store), len_bytes: memory.data_size(store), store: PhantomData }
    }

    /// Writes `bytes` at `address`: 1, 2, 4 and 8 aligned bytes in one access, so that no neighbour is touched and
    /// nobody sees half a value; more in address order. False, and nothing written, if that is not inside memory.
    #[inline]
    pub(super) fn put(&self, address: u32, bytes: &[u8]) -> bool {
        let end = u64::from(address) + bytes.len() as u64;
        if end > self.len_bytes as u64 {
            return false;
        }
        // SAFETY: in bounds, as was just checked: `begin` has `len_bytes` bytes behind it, and memories of drivers
        // neither move nor shrink.
        let to = unsafe { self.begin.add(address as usize) };
        let aligned = to.addr().is_multiple_of(bytes.len().max(1));
        // SAFETY: each writes `bytes.len()` bytes at `to`, inside memory and aligned; the store is borrowed, so no
        // wasm code runs, and what a device does meanwhile is no access of this program's.
        unsafe {
            match *bytes {
                [a] => to.write_volatile(a),
                [a, b] if aligned => to.cast::<u16>().write_volatile(u16::from_ne_bytes([a, b])),
                [a, b, c, d] if aligned => to.cast::<u32>().write_volatile(u32::from_ne_bytes([a, b, c, d])),
                [a, b, c, d, e, f, g, h] if aligned => {
                    to.cast::<u64>().write_volatile(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
                }
                _ => ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()),
            }
        }
        true
    }
}
