//! The crate's `Transport`, over the registers of the host's map.

use nook_sdk::{Kernel, Register, error};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use virtio_regs::{self as map, feature};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Device;
use crate::device::ALWAYS;

/// What the crate may not use: with the one the device expects to see indices at once, which
/// [`Queue`](crate::Queue) holds back, and the other allocates.
const WITHHELD: u64 = feature::INDIRECT_DESC | feature::EVENT_IDX;
/// Bytes of the configuration of a kind.
const CONFIG_BYTES: usize = 0x1000;
/// The longest value in it that anybody reads at once.
const MOST_VALUE_BYTES: usize = 32;

/// Its methods that return nothing note what goes wrong; [`Device`]'s own give it as an error.
impl<K: Kernel> Transport for Device<K> {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    /// Without what the queues cannot do.
    fn read_device_features(&mut self) -> u64 {
        self.regs.write(map::DEVICE_FEATURE_SELECT, 0);
        let low = self.regs.read(map::DEVICE_FEATURE);
        self.regs.write(map::DEVICE_FEATURE_SELECT, 1);
        let high = self.regs.read(map::DEVICE_FEATURE);
        self.offered = u64::from(low) | u64::from(high) << 32;
        if self.offered & feature::VERSION_1 == 0 {
            self.failed = Some("it is of a standard before 1.0");
        }
        self.offered & !WITHHELD
    }

    /// With what is taken in any case: the crate's drivers do not know of `ACCESS_PLATFORM`.
    fn write_driver_features(&mut self, driver_features: u64) {
        let agreed = driver_features | self.offered & ALWAYS;
        self.regs.write(map::DRIVER_FEATURE_SELECT, 0);
        self.regs.write(map::DRIVER_FEATURE, agreed as u32);
        self.regs.write(map::DRIVER_FEATURE_SELECT, 1);
        self.regs.write(map::DRIVER_FEATURE, (agreed >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.regs.write(map::QUEUE_SELECT, queue);
        self.regs.read(map::QUEUE_SIZE).into()
    }

    /// Does nothing: [`Queue::begin`](crate::Queue::begin) rings the doorbell, when there is something to be seen.
    fn notify(&mut self, _queue: u16) {}

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.regs.read(map::DEVICE_STATUS).into())
    }

    /// Looks whether the device agrees, when features are said to be negotiated (3.1.1, step 6).
    fn set_status(&mut self, status: DeviceStatus) {
        self.regs.write(map::DEVICE_STATUS, status.bits() as u8);
        if status.contains(DeviceStatus::FEATURES_OK)
            && !status.contains(DeviceStatus::DRIVER_OK)
            && !self.get_status().contains(DeviceStatus::FEATURES_OK)
        {
            self.failed = Some("it does not agree to the features");
        }
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.regs.write(map::QUEUE_SELECT, queue);
        if queue >= map::QUEUES || self.regs.read(map::QUEUE_NOTIFY_OFF) != queue {
            self.failed = Some("a queue has its doorbell where the register map has none");
        }
        self.regs.write(map::QUEUE_SIZE, size as u16);
        self.regs.write(map::QUEUE_MSIX_VECTOR, self.queue_vector);
        if self.regs.read(map::QUEUE_MSIX_VECTOR) != self.queue_vector {
            self.failed = Some("it refuses the vector of a queue");
        }
        self.write_address(map::QUEUE_DESC_LOW, map::QUEUE_DESC_HIGH, descriptors);
        self.write_address(map::QUEUE_DRIVER_LOW, map::QUEUE_DRIVER_HIGH, driver_area);
        self.write_address(map::QUEUE_DEVICE_LOW, map::QUEUE_DEVICE_HIGH, device_area);
        self.regs.write(map::QUEUE_ENABLE, 1);
        self.last_set = descriptors;
    }

    /// Does nothing: only a reset takes a queue out (4.1.4.3.2).
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.regs.write(map::QUEUE_SELECT, queue);
        self.regs.read(map::QUEUE_ENABLE) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_retain(self.regs.read(map::ISR_STATUS).into())
    }

    fn read_config_generation(&self) -> u32 {
        self.regs.read(map::CONFIG_GENERATION).into()
    }

    /// Reads in accesses as wide as `T` is aligned, 32 bits at most, as 4.1.3.1 has it. Each must be a register of the
    /// map, else it is a fault.
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut bytes = [0; MOST_VALUE_BYTES];
        let value = bytes.get_mut(..size_of::<T>()).ok_or(Error::InvalidParam)?;
        if offset.checked_add(value.len()).is_none_or(|end| end > CONFIG_BYTES) {
            return Err(Error::ConfigSpaceTooSmall);
        }
        let width = align_of::<T>().min(4);
        let regs = self.regs;
        for (at, piece) in (map::DEVICE_CONFIG + offset as u32..).step_by(width).zip(value.chunks_mut(width)) {
            match width {
                1 => piece.copy_from_slice(&[regs.read(Register::<u8>::at(at))]),
                2 => piece.copy_from_slice(&regs.read(Register::<u16>::at(at)).to_le_bytes()),
                _ => piece.copy_from_slice(&regs.read(Register::<u32>::at(at)).to_le_bytes()),
            }
        }
        T::read_from_bytes(value).map_err(|_| Error::InvalidParam)
    }

    /// Refuses: the maps let a driver write nothing there.
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, _value: T) -> Result<()> {
        error!(self.nook(), "the configuration at {offset:#x} is not for a driver to write");
        Err(Error::Unsupported)
    }
}
