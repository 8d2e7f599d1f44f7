//! A device that is nothing but registers in a file of memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_bus::{
    BarInfo, BarMemory, BarSpace, DeviceError, DmaWindow, IovaRange, IrqKind, MappedBar, PciDevice, PciIdentity,
    Result, Width,
};

/// The length of [`BareDevice`]'s one BAR.
pub const BAR_BYTES: usize = 8192;

/// A device with the ids of an 82540EM whose registers are memory, mapped like a real card's: a driver may have them
/// directly, and they can vanish. It interrupts nobody and reaches no window.
pub struct BareDevice {
    bar: MappedBar,
    handle: BareDeviceHandle,
}

/// The other side of a [`BareDevice`].
#[derive(Clone)]
pub struct BareDeviceHandle {
    file: Arc<File>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mapped: Vec<u64>,
    clings: bool,
}

impl BareDevice {
    /// Creates a device, and what stays of it when it is given to a host.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new() -> (Self, BareDeviceHandle) {
        // SAFETY: a name that ends in zero and flags; the answer is checked.
        let fd = unsafe { libc::memfd_create(c"bare".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: a fresh descriptor that nobody else owns.
        let file = Arc::new(File::from(unsafe { OwnedFd::from_raw_fd(fd) }));
        file.set_len(BAR_BYTES as u64).expect("memory for the registers");
        let bar = MappedBar::new(file.as_fd(), 0, BAR_BYTES, BAR_BYTES).expect("room for the registers");
        let handle = BareDeviceHandle { file, state: Arc::default() };
        (BareDevice { bar, handle: handle.clone() }, handle)
    }

    fn answers(&self) -> Result<()> {
        if self.bar.lost() { Err(DeviceError::Gone("its registers vanished".into())) } else { Ok(()) }
    }
}

impl BareDeviceHandle {
    /// Returns the register at `offset`, read past every mapping of it.
    ///
    /// # Panics
    /// If it is not there.
    pub fn register(&self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, offset).expect("a register of the device");
        u32::from_le_bytes(bytes)
    }

    /// Sets it.
    ///
    /// # Panics
    /// If it is not there.
    pub fn set_register(&self, offset: u64, value: u32) {
        self.file.write_all_at(&value.to_le_bytes(), offset).expect("a register of the device");
    }

    /// The device is pulled out: its registers are no longer there for anybody.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn vanish(&self) {
        self.file.set_len(0).expect("the file can be cut off");
    }

    /// The next time that a window is unmapped fails.
    pub fn cling(&self) {
        self.state().clings = true;
    }

    /// Returns where windows are mapped.
    pub fn mapped(&self) -> Vec<u64> {
        self.state().mapped.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PciDevice for BareDevice {
    fn describe(&self) -> String {
        "registers and nothing else".into()
    }
    fn identity(&self) -> PciIdentity {
        PciIdentity::new(e1000_regs::VENDOR, e1000_regs::DEVICE_82540EM, e1000_regs::CLASS)
    }
    fn bars(&self) -> &[BarInfo] {
        const BARS: [BarInfo; 1] = [BarInfo { index: 0, space: BarSpace::Memory, len_bytes: BAR_BYTES as u64 }];
        &BARS
    }
    fn bar_read(&mut self, _: u8, offset: u32, width: Width) -> Result<u64> {
        let value = self.bar.read(offset as usize, width);
        self.answers().map(|()| value)
    }
    fn bar_write(&mut self, _: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.bar.write(offset as usize, width, value);
        self.answers()
    }
    fn bar_map(&mut self, _: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        let bar = MappedBar::new(self.handle.file.as_fd(), 0, BAR_BYTES, reserve_bytes);
        Ok(Arc::new(bar.map_err(|error| DeviceError::os("mapping the registers", error))?))
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![IovaRange { first: 0, last: u64::MAX >> 8 }]
    }
    fn dma_map(&mut self, _: &DmaWindow, iova: u64) -> Result<()> {
        self.handle.state().mapped.push(iova);
        Ok(())
    }
    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        let mut state = self.handle.state();
        if std::mem::take(&mut state.clings) {
            return Err(DeviceError::os("unmapping", io::Error::from(io::ErrorKind::ResourceBusy)));
        }
        state.mapped.retain(|&mapped| mapped != iova);
        Ok(())
    }
    fn irq_enable(&mut self, _: u32) -> Result<(IrqKind, u32)> {
        Ok((IrqKind::Intx, 1))
    }
}
