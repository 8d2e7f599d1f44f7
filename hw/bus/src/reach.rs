//! An embedded device's way to memory: through mapped windows, while bus mastering is on, and nowhere else.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, VolatileMemory, VolatileSlice};

use crate::{DeviceError, DmaWindow, IovaRange, Result, WINDOW_ALIGN};

#[derive(Debug)]
struct Mapped {
    first: u64,
    len: u64,
    window: DmaWindow,
}

/// What an embedded device reaches: the windows that are mapped, while it is bus master. Accesses that go nowhere do
/// nothing and are counted.
#[derive(Debug, Default)]
pub struct Reach {
    windows: Vec<Mapped>,
    /// Where the last access was found: the next is almost always there too.
    last: usize,
    /// Whether the device is bus master.
    pub bus_master: bool,
    /// Accesses that went nowhere.
    pub faults: u64,
}

impl Reach {
    /// What such a device can address. The first addresses are left out, so that a descriptor full of zeros hits
    /// nothing.
    pub const RANGE: IovaRange = IovaRange { first: WINDOW_ALIGN, last: (1 << 46) - 1 };

    /// Maps a window at `iova`, a multiple of [`WINDOW_ALIGN`] inside [`RANGE`](Self::RANGE) where nothing is mapped.
    ///
    /// # Errors
    /// [`DeviceError::Unmappable`] if it cannot lie there.
    pub fn map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        let len = window.len_bytes();
        let refuse = |why: String| Err(DeviceError::Unmappable { iova, len_bytes: len, why });
        if !iova.is_multiple_of(WINDOW_ALIGN) {
            return refuse(format!("windows are mapped at multiples of {WINDOW_ALIGN:#x}"));
        }
        if !(Self::RANGE.first..=Self::RANGE.last).contains(&iova) || len - 1 > Self::RANGE.last - iova {
            return refuse(format!("outside {:#x} to {:#x}", Self::RANGE.first, Self::RANGE.last));
        }
        if let Some(other) =
            self.windows.iter().find(|other| iova < other.first + other.len && other.first < iova + len)
        {
            return refuse(format!("{:#x} bytes are mapped at {:#x}: unmap them first", other.len, other.first));
        }
        self.windows.push(Mapped { first: iova, len, window: window.clone() });
        Ok(())
    }

    /// Takes the window that was mapped at `iova` away.
    ///
    /// # Errors
    /// [`DeviceError::Unmappable`] if there is none.
    pub fn unmap(&mut self, iova: u64) -> Result<()> {
        let Some(at) = self.windows.iter().position(|mapped| mapped.first == iova) else {
            let why = "nothing is mapped there".into();
            return Err(DeviceError::Unmappable { iova, len_bytes: 0, why });
        };
        self.windows.swap_remove(at);
        self.last = 0;
        Ok(())
    }

    /// Returns the memory behind `len` bytes at `address`; counts a fault if there is none.
    #[inline]
    fn at(&mut self, address: u64, len: u64) -> Option<VolatileSlice<'_>> {
        let hit = |mapped: &Mapped| {
            let offset = address.wrapping_sub(mapped.first);
            offset < mapped.len && len <= mapped.len - offset
        };
        if self.bus_master {
            if !self.windows.get(self.last).is_some_and(hit)
                && let Some(at) = self.windows.iter().position(hit)
            {
                self.last = at;
            }
            if let Some(mapped) = self.windows.get(self.last).filter(|mapped| hit(mapped)) {
                return mapped.window.slice().subslice((address - mapped.first) as usize, len as usize).ok();
            }
        }
        self.faults += 1;
        None
    }

    /// Reads eight bytes of a descriptor, at a multiple of eight; little endian.
    #[inline]
    pub fn load(&mut self, address: u64) -> Option<u64> {
        Some(u64::from_le(self.at(address, 8)?.load(0, Ordering::Relaxed).ok()?))
    }

    /// Reads a whole descriptor of sixteen bytes. What the driver wrote before the doorbell is seen: the doorbell came
    /// through the same thread.
    #[inline]
    pub fn descriptor(&mut self, address: u64) -> Option<[u64; 2]> {
        let slice = self.at(address, 16)?;
        let low = slice.get_atomic_ref::<std::sync::atomic::AtomicU64>(0).ok()?;
        let high = slice.get_atomic_ref::<std::sync::atomic::AtomicU64>(8).ok()?;
        Some([low, high].map(|half| u64::from_le(half.load(Ordering::Relaxed))))
    }

    /// Writes the eight bytes of a descriptor, at a multiple of eight, that say that it is done, after everything that
    /// was written before.
    #[inline]
    pub fn write_back(&mut self, address: u64, value: u64) {
        if let Some(slice) = self.at(address, 8) {
            // Aligned: rings start at multiples of 16 and windows at larger ones.
            let _ = slice.store(value.to_le(), 0, Ordering::Release);
        }
    }

    /// Reads payload from memory; false if there is none.
    #[inline]
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        self.at(address, bytes.len() as u64).map(|slice| slice.copy_to(bytes)).is_some()
    }

    /// Writes payload to memory; false if there is none.
    #[inline]
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.at(address, bytes.len() as u64).map(|slice| slice.copy_from(bytes)).is_some()
    }
}
