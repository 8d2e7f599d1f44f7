//! The hostcalls: every argument is checked here, before [`Host`] does what is asked; of a register it is
//! [`CheckedBars`](crate::bars::CheckedBars) that checks.

use nook_abi::{Addr, Fault, Hostcall, Status};
use nook_bus::PciDevice;
use nook_regs::Width;

use crate::Host;
use crate::driver_log::DriverLog;

/// The longest `delay_ns`.
pub(crate) const MAX_DELAY_NS: u32 = 10_000_000;
/// The longest `sleep_ns`.
pub(crate) const MAX_SLEEP_NS: u64 = 1_000_000_000;
/// The largest `align_bytes`.
pub(crate) const MAX_ALIGN_BYTES: u32 = 4096;

pub(crate) fn bad(call: Hostcall, argument: &'static str, value: u64, rule: &'static str) -> Fault {
    Fault::BadArgument { call, argument, value, rule }
}

fn code(result: Result<(), Status>) -> i32 {
    result.map_or_else(Status::code, |()| 0)
}

macro_rules! register_access {
    ($($read:ident $read_call:ident $write:ident $write_call:ident $width:ident $value:ty;)*) => { $(
        #[inline]
        pub(crate) fn $read(host: &mut Host, bar: u32, offset: u32) -> Result<$value, Fault> {
            host.bars().read(Hostcall::$read_call, bar, offset, Width::$width).map(|value| value as $value)
        }
        #[inline]
        pub(crate) fn $write(host: &mut Host, bar: u32, offset: u32, value: $value) -> Result<(), Fault> {
            host.bars().write(Hostcall::$write_call, bar, offset, Width::$width, value.into())
        }
    )* };
}

impl Host {
    /// Returns how many interrupt vectors the device is asked for. A driver that could use several queues, and is to
    /// use one, has one vector: its device is as one without others then.
    pub(crate) fn irq_vectors(&self) -> u32 {
        let uses_one = self.manifest.queues > 1 && self.device.queues == 1;
        if uses_one { 1 } else { self.manifest.irq_vectors.into() }
    }
}

/// Serves what every driver can ask for; see [`Services`](crate::Services).
pub(crate) struct Core;

impl Core {
    register_access! {
        mmio_read8 MmioRead8 mmio_write8 MmioWrite8 B1 u32;
        mmio_read16 MmioRead16 mmio_write16 MmioWrite16 B2 u32;
        mmio_read32 MmioRead32 mmio_write32 MmioWrite32 B4 u32;
        mmio_read64 MmioRead64 mmio_write64 MmioWrite64 B8 u64;
    }

    pub(crate) fn config_read8(host: &mut Host, offset: u32) -> Result<u32, Fault> {
        host.bars().config_read(Hostcall::ConfigRead8, offset, Width::B1)
    }

    pub(crate) fn config_read16(host: &mut Host, offset: u32) -> Result<u32, Fault> {
        host.bars().config_read(Hostcall::ConfigRead16, offset, Width::B2)
    }

    pub(crate) fn config_read32(host: &mut Host, offset: u32) -> Result<u32, Fault> {
        host.bars().config_read(Hostcall::ConfigRead32, offset, Width::B4)
    }

    pub(crate) fn mmio_flush(host: &mut Host) -> Result<(), Fault> {
        host.device.device.flush().map_err(|error| host.device.failed(error))
    }

    pub(crate) fn dma_alloc(host: &mut Host, len_bytes: u32, align_bytes: u32) -> Result<i64, Fault> {
        if len_bytes == 0 {
            return Err(bad(Hostcall::DmaAlloc, "len_bytes", 0, "an empty region"));
        }
        if !align_bytes.is_power_of_two() || align_bytes > MAX_ALIGN_BYTES {
            let rule = "not a power of two up to 4096";
            return Err(bad(Hostcall::DmaAlloc, "align_bytes", align_bytes.into(), rule));
        }
        let Some((handle, offset)) = host.device.regions.alloc(len_bytes, align_bytes) else {
            host.device.report_no_room(len_bytes);
            return Ok(Status::NoMemory.code().into());
        };
        host.call.transaction.allocated(handle);
        let region = host.device.window().slice().subslice(offset as usize, len_bytes as usize);
        region.expect("regions lie inside the window").copy_from(&vec![0u8; len_bytes as usize]);
        Ok(i64::from(handle) << 32 | i64::from(offset))
    }

    pub(crate) fn dma_free(host: &mut Host, region: u32) -> Result<(), Fault> {
        host.free_region(region)
    }

    pub(crate) fn dma_enable(host: &mut Host) -> Result<i32, Fault> {
        host.device.device.set_bus_master(true).map_err(|error| host.device.failed(error)).map(|()| 0)
    }

    pub(crate) fn dma_disable(host: &mut Host) -> Result<i32, Fault> {
        host.device.device.set_bus_master(false).map_err(|error| host.device.failed(error)).map(|()| 0)
    }

    pub(crate) fn irq_enable(host: &mut Host, vector: u32) -> Result<i32, Fault> {
        let wanted = host.irq_vectors();
        if vector >= u32::from(host.manifest.irq_vectors) {
            let rule = "not below the manifest's irq_vectors";
            return Err(bad(Hostcall::IrqEnable, "vector", vector.into(), rule));
        }
        host.device.irq_enable(vector, wanted).map(code)
    }

    pub(crate) fn irq_disable(host: &mut Host, vector: u32) -> Result<i32, Fault> {
        if vector >= u32::from(host.manifest.irq_vectors) {
            let rule = "not below the manifest's irq_vectors";
            return Err(bad(Hostcall::IrqDisable, "vector", vector.into(), rule));
        }
        host.device.irq_disable(vector).map_err(|error| host.device.failed(error)).map(|()| 0)
    }

    pub(crate) fn clock_ns(host: &mut Host) -> Result<u64, Fault> {
        Ok(host.clock().now_ns())
    }

    pub(crate) fn delay_ns(host: &mut Host, ns: u32) -> Result<(), Fault> {
        if ns > MAX_DELAY_NS {
            return Err(bad(Hostcall::DelayNs, "ns", ns.into(), "longer than 10 ms: sleep instead"));
        }
        host.call.excuse_delay(ns.into());
        host.wait(ns.into(), false)
    }

    pub(crate) fn sleep_ns(host: &mut Host, ns: u64) -> Result<(), Fault> {
        if ns > MAX_SLEEP_NS {
            return Err(bad(Hostcall::SleepNs, "ns", ns, "longer than 1 s"));
        }
        host.call.budget.excuse_sleep(ns);
        host.wait(ns, true)
    }

    pub(crate) fn timer_set(host: &mut Host, due_ns: u64) -> Result<(), Fault> {
        host.call.due.timer((due_ns != 0).then_some(due_ns));
        Ok(())
    }

    pub(crate) fn work_schedule(host: &mut Host) -> Result<(), Fault> {
        host.call.due.work();
        Ok(())
    }

    pub(crate) fn log(host: &mut Host, level: u32, text: Addr, len_bytes: u32) -> Result<(), Fault> {
        let level = DriverLog::level(level)
            .ok_or_else(|| bad(Hostcall::Log, "level", level.into(), "not 1 (error) to 4 (debug)"))?;
        if len_bytes > nook_abi::log_level::MAX_BYTES {
            return Err(bad(Hostcall::Log, "len_bytes", len_bytes.into(), "longer than 512"));
        }
        let slice = host.space.as_ref().and_then(|space| space.slice(text as u64, len_bytes.into()));
        let slice = slice.ok_or(Fault::OutOfBounds {
            call: Hostcall::Log,
            argument: "text",
            addr: text as u64,
            len_bytes: len_bytes.into(),
        })?;
        let mut bytes = vec![0; len_bytes as usize];
        slice.copy_to(&mut bytes);
        let now_ns = host.clock().now_ns();
        let text = host.log.message(level, &bytes, now_ns)?;
        host.call.trace.logged(text);
        Ok(())
    }

    pub(crate) fn poll_schedule(host: &mut Host, queue: u32) -> Result<(), Fault> {
        if queue >= host.device.queues {
            let rule = "not below the number of queues";
            return Err(bad(Hostcall::PollSchedule, "queue", queue.into(), rule));
        }
        host.call.due.poll_again(queue);
        Ok(())
    }
}
