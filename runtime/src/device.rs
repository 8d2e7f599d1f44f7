//! The device of a nook and what the driver has of it: its registers by the policy, its window's place, DMA regions,
//! interrupts; and what takes all that away.

mod image;
#[cfg(test)]
mod widths;

pub(crate) use image::{DeviceFingerprint, DeviceImage};

use std::sync::Arc;

use nook_abi::{Fault, Status};
use nook_bus::{
    BarMemory, Clock, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, RegisterAddr, Service, Shadowed,
    Transactional, WINDOW_ALIGN, register_name,
};
use nook_regs::RegisterMap;

use crate::dma::DmaRegions;
use crate::{RegisterPolicy, Revoker};

/// Errors of the device that are logged for one driver instance.
const MAX_ERRORS_LOGGED: u32 = 8;

/// The device, and the state of everything that was set up for the driver instance that runs.
pub(crate) struct DeviceState {
    pub(crate) device: Transactional<Shadowed>,
    pub(crate) policy: RegisterPolicy,
    /// The BAR that the instance has as memory, with direct registers.
    pub(crate) bar: Option<Arc<dyn BarMemory>>,
    pub(crate) revoker: Revoker,
    window: DmaWindow,
    dma_mask_bits: u8,
    /// Where the device sees the window.
    iova: Option<u64>,
    /// How often the window was mapped: it alternates between places.
    maps: u64,
    pub(crate) regions: DmaRegions,
    /// How many of its queues the driver is to use, at most.
    pub(crate) queues: u32,
    irq: Option<(IrqKind, u32)>,
    irq_enabled: u32,
    /// Interrupts have been on for this instance, whether they still are or not.
    had_interrupts: bool,
    /// Vectors that fired and were not delivered yet.
    irq_pending: u32,
    /// The one that was delivered last.
    irq_delivered: u32,
    /// The last instance is gone, and nothing was given to another.
    is_quiet: bool,
    /// The last thing that went wrong, for the report: a [`Fault`] holds no text.
    last_error: Option<String>,
    /// The register (its BAR and offset) whose value was refused last, for the report.
    pub(crate) refused: Option<(u32, u32)>,
    /// How often something went wrong since an instance began.
    errors: u32,
    /// It was said of this instance that it has no interrupts: a driver may ask again and again.
    reported_no_irq: bool,
    /// It was said of this instance that there is no room for a DMA region.
    reported_no_room: bool,
    /// It was said that a transfer is started while the device may not use memory: once, as the code of the next
    /// instance is the same.
    reported_no_dma: bool,
}

impl DeviceState {
    pub(crate) fn new(
        device: Box<dyn PciDevice>,
        map: &'static RegisterMap,
        window: DmaWindow,
        dma_mask_bits: u8,
        dma_bytes: u32,
        clock: Clock,
    ) -> Self {
        DeviceState {
            device: Transactional::new(Shadowed::new(device, map, clock), map),
            policy: RegisterPolicy::from_map(map),
            bar: None,
            revoker: Revoker::default(),
            window,
            dma_mask_bits,
            iova: None,
            maps: 0,
            regions: DmaRegions::new(dma_bytes),
            queues: 1,
            irq: None,
            irq_enabled: 0,
            had_interrupts: false,
            irq_pending: 0,
            irq_delivered: 0,
            is_quiet: false,
            last_error: None,
            refused: None,
            errors: 0,
            reported_no_irq: false,
            reported_no_room: false,
            reported_no_dma: false,
        }
    }

    pub(crate) fn window(&self) -> &DmaWindow {
        &self.window
    }

    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Notes what happened and says which fault it is.
    #[cold]
    pub(crate) fn failed(&mut self, error: DeviceError) -> Fault {
        let gone = matches!(error, DeviceError::Gone(_));
        self.errors = self.errors.saturating_add(1);
        // A native driver cannot be ended in the middle of a call, and may go on asking a device that is gone.
        if self.errors <= MAX_ERRORS_LOGGED {
            let more = if self.errors == MAX_ERRORS_LOGGED { " (further errors of it are not logged)" } else { "" };
            tracing::error!("{}: {error}{more}", self.device.describe());
        }
        self.last_error = Some(error.to_string());
        if gone { Fault::DeviceGone } else { Fault::DeviceFailed }
    }

    /// Maps the window for a new driver instance, at another place than last time, so that a descriptor of the last
    /// instance that the device still holds leads nowhere.
    pub(crate) fn map_window(&mut self) -> Result<u64, DeviceError> {
        self.unmap_window()?;
        self.device.device_mut().begin();
        self.is_quiet = false;
        self.errors = 0;
        self.reported_no_irq = false;
        self.reported_no_room = false;
        let ranges = self.device.iova_ranges();
        let len_bytes = self.window.len_bytes();
        let iova =
            choose_iova(&ranges, len_bytes, self.dma_mask_bits, self.maps).ok_or_else(|| DeviceError::Unmappable {
                iova: 0,
                len_bytes,
                why: format!(
                    "no free range of {} MiB that is aligned to 2 MiB and below 2^{}; a smaller `dma_bytes`, \
                     or fewer buffers, in the driver's manifest would help",
                    len_bytes >> 20,
                    self.dma_mask_bits
                ),
            })?;
        self.device.dma_map(&self.window, iova)?;
        self.iova = Some(iova);
        self.maps += 1;
        Ok(iova)
    }

    /// Ends whatever sequence the last driver left a guarded register in: the next one cannot know where it was.
    pub(crate) fn let_go(&mut self) -> Result<(), DeviceError> {
        for (RegisterAddr { bar, offset, width }, busy) in self.policy.guarded() {
            let value = self.device.bar_read(bar, offset, width)?;
            if value & busy != 0 {
                self.device.bar_write(bar, offset, width, value & !busy)?;
                self.device.release()?;
            }
        }
        Ok(())
    }

    pub(crate) fn unmap_window(&mut self) -> Result<(), DeviceError> {
        if let Some(iova) = self.iova {
            // What could not be taken away is still there: forgotten, it would be within reach of a later instance.
            self.device.dma_unmap(iova)?;
            self.iova = None;
        }
        Ok(())
    }

    /// Returns where the device sees the window, if it does. It never crosses a multiple of 4 GiB.
    pub(crate) fn seen_window(&self) -> Option<IovaRange> {
        self.iova.map(|first| IovaRange { first, last: first + (self.window.len_bytes() - 1) })
    }

    /// Says once of an instance why it got no region: all that a driver sees is a status.
    #[cold]
    pub(crate) fn report_no_room(&mut self, len_bytes: u32) {
        if !std::mem::replace(&mut self.reported_no_room, true) {
            tracing::warn!("no DMA region: {}", self.regions.why_no_room(len_bytes));
        }
    }

    /// Says once that what a driver starts will come to nothing: its device reads and writes no memory, and nobody sees
    /// an error.
    #[cold]
    pub(crate) fn report_transfer_without_dma(&mut self, bar: u32, offset: u32) {
        if !std::mem::replace(&mut self.reported_no_dma, true) {
            let register = register_name(self.policy.map(), bar as u8, offset);
            tracing::warn!(
                "{register} starts a DMA transfer while DMA is off, so nothing is read from memory and nothing written to it: \
                 call `dma_enable` in `open`, before the first transfer"
            );
        }
    }

    pub(crate) fn irq_enable(&mut self, vector: u32, wanted: u32) -> Result<Result<(), Status>, Fault> {
        let have = match self.irq {
            Some((_, have)) => have,
            None => match self.device.irq_enable(wanted) {
                Ok((kind, have)) => {
                    tracing::debug!("interrupts: {kind:?}, {have} vectors");
                    self.irq = Some((kind, have));
                    have
                }
                Err(DeviceError::Unsupported(why)) => {
                    if !std::mem::replace(&mut self.reported_no_irq, true) {
                        tracing::warn!("{}: no interrupts: {why}", self.device.describe());
                    }
                    return Ok(Err(Status::Unsupported));
                }
                Err(error) => return Err(self.failed(error)),
            },
        };
        if vector >= have {
            return Ok(Err(Status::Unsupported));
        }
        self.irq_enabled |= 1 << vector;
        self.had_interrupts = true;
        Ok(Ok(()))
    }

    pub(crate) fn irq_disable(&mut self, vector: u32) -> Result<(), DeviceError> {
        self.irq_enabled &= !(1u32.checked_shl(vector).unwrap_or(0));
        self.irq_pending &= self.irq_enabled;
        if self.irq_enabled == 0 && self.irq.take().is_some() {
            return self.device.irq_disable();
        }
        Ok(())
    }

    /// Lets the device work; vectors that fired are kept until [`take_irq`](Self::take_irq).
    #[inline]
    pub(crate) fn service(&mut self, now_ns: u64) -> Result<Option<u64>, DeviceError> {
        let Service { irqs, due_ns } = self.device.service(now_ns)?;
        self.irq_pending |= irqs & self.irq_enabled;
        Ok(due_ns)
    }

    /// Vectors to deliver now, as a mask.
    #[inline]
    pub(crate) fn pending_irqs(&self) -> u32 {
        self.irq_pending
    }

    /// Takes the next vector to deliver.
    #[inline]
    pub(crate) fn take_irq(&mut self) -> Option<u32> {
        let vector = (self.irq_pending != 0).then(|| self.irq_pending.trailing_zeros())?;
        self.irq_pending &= self.irq_pending - 1;
        self.irq_delivered = vector;
        Some(vector)
    }

    /// Delivers the last vector again: the driver's answer to it was rolled back, and the line has dropped meanwhile.
    pub(crate) fn deliver_again(&mut self) {
        self.irq_pending |= (1 << self.irq_delivered) & self.irq_enabled;
    }

    /// Causes that a call had read are to be read again, whichever vector they belong to.
    pub(crate) fn deliver_all_again(&mut self) {
        self.irq_pending |= self.irq_enabled;
    }

    /// Returns whether interrupts have been on for this instance.
    #[inline]
    pub(crate) fn had_interrupts(&self) -> bool {
        self.had_interrupts
    }

    /// Returns whether any vector is on.
    pub(crate) fn has_interrupts(&self) -> bool {
        self.irq_enabled != 0
    }

    /// Returns how interrupts arrive, once they are on.
    pub(crate) fn irq_kind(&self) -> Option<IrqKind> {
        self.irq.map(|(kind, _)| kind)
    }

    /// Makes the device quiet, because the driver is gone or about to go: no interrupt, no DMA, nothing mapped, the
    /// function reset if it can be. Everything is tried; the first thing that failed is returned.
    pub(crate) fn quiet(&mut self) -> Result<(), DeviceError> {
        // A reset can take long: it is not done twice.
        if self.is_quiet {
            return Ok(());
        }
        let mut first = Ok(());
        let mut note = |result: Result<(), DeviceError>| {
            if first.is_ok() {
                first = result;
            }
        };
        self.irq_enabled = 0;
        self.had_interrupts = false;
        self.irq_pending = 0;
        if self.irq.is_some() {
            // What could not be turned off is tried again when this is.
            let off = self.device.irq_disable();
            if off.is_ok() {
                self.irq = None;
            }
            note(off);
        }
        note(self.device.set_bus_master(false));
        note(self.unmap_window());
        note(self.device.reset().map(drop));
        self.regions = DmaRegions::new(self.regions.len_bytes());
        self.is_quiet = first.is_ok();
        first
    }
}

/// Chooses an address for a window of `len_bytes`, aligned to 2 MiB, inside one of `ranges` and reachable with
/// `mask_bits` address bits. It never crosses a multiple of 4 GiB. `turn` picks among the possible places: consecutive
/// turns give places that do not overlap, where there is room for two.
pub fn choose_iova(ranges: &[IovaRange], len_bytes: u64, mask_bits: u8, turn: u64) -> Option<u64> {
    const FOUR_GIB: u64 = 1 << 32;
    // Address 0 is left out: a driver that forgets to set an address would otherwise hit the window.
    const LOWEST: u64 = WINDOW_ALIGN;
    let reach = if mask_bits >= 64 { u64::MAX } else { (1 << mask_bits) - 1 };
    let fits = |first: u64| {
        let last = first.checked_add(len_bytes - 1)?;
        let inside = ranges.iter().any(|range| range.first <= first && last <= range.last);
        (inside && last <= reach && first / FOUR_GIB == last / FOUR_GIB).then_some(first)
    };
    let mut places = Vec::new();
    for range in ranges {
        let mut at = range.first.max(LOWEST).checked_next_multiple_of(WINDOW_ALIGN);
        // A few places in each range are enough to alternate between.
        for _ in 0..4 {
            let Some(first) = at else { break };
            if let Some(place) = fits(first) {
                places.push(place);
                at = place.checked_add(len_bytes).and_then(|end| end.checked_next_multiple_of(WINDOW_ALIGN));
            } else {
                at = (first / FOUR_GIB + 1).checked_mul(FOUR_GIB).filter(|&next| next > first);
            }
        }
    }
    let count = places.len() as u64;
    (count > 0).then(|| places[(turn % count) as usize])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use nook_bus::scripted::Scripted;
    use nook_regs::Bar;

    use super::*;

    /// A device that cannot end its interrupts at the first try, and how often that was tried.
    struct Clings(Scripted, Arc<AtomicU32>);

    impl PciDevice for Clings {
        nook_bus::forward_pci_device!(|self| self.0 => describe identity bars bar_read bar_write irq_enable);

        fn irq_disable(&mut self) -> Result<(), DeviceError> {
            match self.1.fetch_add(1, Ordering::Relaxed) {
                0 => Err(DeviceError::Unsupported("not now".into())),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn interrupts_that_could_not_be_ended_are_ended_when_the_device_is_made_quiet_again() {
        static MAP: RegisterMap = RegisterMap::checked("none", &[Bar::memory(0, 4)], &[]);
        let tried = Arc::new(AtomicU32::new(0));
        let device: Box<dyn PciDevice> = Box::new(Clings(Scripted::default(), tried.clone()));
        let mut device = DeviceState::new(device, &MAP, DmaWindow::new(1).unwrap(), 64, 0, Clock::new_virtual());
        assert_eq!(device.irq_enable(0, 1), Ok(Ok(())));
        assert!(device.quiet().is_err());
        assert!(device.quiet().is_ok());
        assert_eq!(tried.load(Ordering::Relaxed), 2);
        assert!(device.quiet().is_ok());
        assert_eq!(tried.load(Ordering::Relaxed), 2, "what is quiet is left alone");
    }

    const X86: [IovaRange; 2] =
        [IovaRange { first: 0, last: 0xfedf_ffff }, IovaRange { first: 0xfef0_0000, last: (1 << 39) - 1 }];

    #[test]
    fn consecutive_places_do_not_overlap() {
        let len = 6 << 20;
        for turn in 0..8 {
            let a = choose_iova(&X86, len, 64, turn).unwrap();
            let b = choose_iova(&X86, len, 64, turn + 1).unwrap();
            assert!(a + len <= b || b + len <= a, "{a:#x} and {b:#x}");
            assert_eq!(a % WINDOW_ALIGN, 0);
        }
    }

    #[test]
    fn a_place_is_never_at_zero_nor_across_four_gib() {
        for turn in 0..16 {
            let at = choose_iova(&X86, 64 << 20, 64, turn).unwrap();
            assert_ne!(at, 0);
            assert_eq!(at >> 32, (at + (64 << 20) - 1) >> 32);
        }
    }

    #[test]
    fn the_address_mask_is_obeyed() {
        for turn in 0..8 {
            assert!(choose_iova(&X86, 2 << 20, 24, turn).unwrap() + (2 << 20) <= 1 << 24);
        }
        assert_eq!(choose_iova(&X86, 32 << 20, 24, 0), None);
        assert_eq!(choose_iova(&[], 2 << 20, 64, 0), None);
    }
}
