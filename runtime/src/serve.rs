//! The hostcalls: every argument is checked here, before [`Host`] does what is asked; of a register it is
//! [`CheckedBars`](crate::bars::CheckedBars) that checks.

use nook_abi::net::{LinkState, filter_direction, filter_verdict};
use nook_abi::{Addr, Entry, Fault, Hostcall, Status};
use nook_bus::PciDevice;
use nook_regs::Width;

use crate::driver_log::DriverLog;
use crate::netif::Interface;
use crate::{Host, Services};

/// The longest `delay_ns`.
const MAX_DELAY_NS: u32 = 10_000_000;
/// The longest `sleep_ns`.
const MAX_SLEEP_NS: u64 = 1_000_000_000;
/// The largest `align_bytes`.
const MAX_ALIGN_BYTES: u32 = 4096;

fn bad(call: Hostcall, argument: &'static str, value: u64, rule: &'static str) -> Fault {
    Fault::BadArgument { call, argument, value, rule }
}

fn code(result: Result<(), Status>) -> i32 {
    result.map_or_else(Status::code, |()| 0)
}

macro_rules! register_access {
    ($($read:ident $read_call:ident $write:ident $write_call:ident $width:ident $value:ty;)*) => { $(
        #[inline]
        fn $read(&mut self, bar: u32, offset: u32) -> Result<$value, Fault> {
            self.bars().read(Hostcall::$read_call, bar, offset, Width::$width).map(|value| value as $value)
        }
        #[inline]
        fn $write(&mut self, bar: u32, offset: u32, value: $value) -> Result<(), Fault> {
            self.bars().write(Hostcall::$write_call, bar, offset, Width::$width, value.into())
        }
    )* };
}

impl Services for Host {
    register_access! {
        mmio_read8 MmioRead8 mmio_write8 MmioWrite8 B1 u32;
        mmio_read16 MmioRead16 mmio_write16 MmioWrite16 B2 u32;
        mmio_read32 MmioRead32 mmio_write32 MmioWrite32 B4 u32;
        mmio_read64 MmioRead64 mmio_write64 MmioWrite64 B8 u64;
    }

    fn config_read8(&mut self, offset: u32) -> Result<u32, Fault> {
        self.bars().config_read(Hostcall::ConfigRead8, offset, Width::B1)
    }

    fn config_read16(&mut self, offset: u32) -> Result<u32, Fault> {
        self.bars().config_read(Hostcall::ConfigRead16, offset, Width::B2)
    }

    fn config_read32(&mut self, offset: u32) -> Result<u32, Fault> {
        self.bars().config_read(Hostcall::ConfigRead32, offset, Width::B4)
    }

    fn mmio_flush(&mut self) -> Result<(), Fault> {
        self.device.device.flush().map_err(|error| self.device.failed(error))
    }

    fn dma_alloc(&mut self, len_bytes: u32, align_bytes: u32) -> Result<i64, Fault> {
        if len_bytes == 0 {
            return Err(bad(Hostcall::DmaAlloc, "len_bytes", 0, "an empty region"));
        }
        if !align_bytes.is_power_of_two() || align_bytes > MAX_ALIGN_BYTES {
            let rule = "not a power of two up to 4096";
            return Err(bad(Hostcall::DmaAlloc, "align_bytes", align_bytes.into(), rule));
        }
        let Some((handle, offset)) = self.device.regions.alloc(len_bytes, align_bytes) else {
            return Ok(Status::NoMemory.code().into());
        };
        self.call.transaction.allocated(handle);
        let region = self.device.window().slice().subslice(offset as usize, len_bytes as usize);
        region.expect("regions lie inside of the window").copy_from(&vec![0u8; len_bytes as usize]);
        Ok(i64::from(handle) << 32 | i64::from(offset))
    }

    fn dma_free(&mut self, region: u32) -> Result<(), Fault> {
        self.free_region(region)
    }

    fn dma_enable(&mut self) -> Result<i32, Fault> {
        self.device.device.set_bus_master(true).map_err(|error| self.device.failed(error)).map(|()| 0)
    }

    fn dma_disable(&mut self) -> Result<i32, Fault> {
        self.device.device.set_bus_master(false).map_err(|error| self.device.failed(error)).map(|()| 0)
    }

    fn irq_enable(&mut self, vector: u32) -> Result<i32, Fault> {
        let wanted = u32::from(self.manifest.irq_vectors);
        if vector >= wanted {
            let rule = "not below the manifest's irq_vectors";
            return Err(bad(Hostcall::IrqEnable, "vector", vector.into(), rule));
        }
        self.device.irq_enable(vector, wanted).map(code)
    }

    fn irq_disable(&mut self, vector: u32) -> Result<i32, Fault> {
        if vector >= u32::from(self.manifest.irq_vectors) {
            let rule = "not below the manifest's irq_vectors";
            return Err(bad(Hostcall::IrqDisable, "vector", vector.into(), rule));
        }
        self.device.irq_disable(vector).map_err(|error| self.device.failed(error)).map(|()| 0)
    }

    fn clock_ns(&mut self) -> Result<u64, Fault> {
        Ok(self.clock().now_ns())
    }

    fn delay_ns(&mut self, ns: u32) -> Result<(), Fault> {
        if ns > MAX_DELAY_NS {
            return Err(bad(Hostcall::DelayNs, "ns", ns.into(), "longer than 10 ms: sleep instead"));
        }
        self.call.budget.excuse_delay(ns.into());
        self.wait(ns.into(), false)
    }

    fn sleep_ns(&mut self, ns: u64) -> Result<(), Fault> {
        if ns > MAX_SLEEP_NS {
            return Err(bad(Hostcall::SleepNs, "ns", ns, "longer than 1 s"));
        }
        self.call.budget.excuse_sleep(ns);
        self.wait(ns, true)
    }

    fn timer_set(&mut self, due_ns: u64) -> Result<(), Fault> {
        self.call.wanted.timer((due_ns != 0).then_some(due_ns));
        Ok(())
    }

    fn work_schedule(&mut self) -> Result<(), Fault> {
        self.call.wanted.work();
        Ok(())
    }

    fn log(&mut self, level: u32, text: Addr, len_bytes: u32) -> Result<(), Fault> {
        let level = DriverLog::level(level)
            .ok_or_else(|| bad(Hostcall::Log, "level", level.into(), "not 1 (error) to 4 (debug)"))?;
        if len_bytes > nook_abi::log_level::MAX_BYTES {
            return Err(bad(Hostcall::Log, "len_bytes", len_bytes.into(), "longer than 512"));
        }
        let slice = self.space.as_ref().and_then(|space| space.slice(text as u64, len_bytes.into()));
        let slice = slice.ok_or(Fault::OutOfBounds {
            call: Hostcall::Log,
            argument: "text",
            addr: text as u64,
            len_bytes: len_bytes.into(),
        })?;
        let mut bytes = vec![0; len_bytes as usize];
        slice.copy_to(&mut bytes);
        let now_ns = self.clock().now_ns();
        self.log.message(level, &bytes, now_ns)
    }

    fn net_attach(&mut self, mac: u64, max_mtu: u32, features: u64) -> Result<i32, Fault> {
        let [a, b, c, d, e, f, rest @ ..] = mac.to_le_bytes();
        if rest != [0, 0] {
            return Err(bad(Hostcall::NetAttach, "mac", mac, "bits above 47 are set"));
        }
        if features != 0 {
            return Err(bad(Hostcall::NetAttach, "features", features, "must be zero in this ABI version"));
        }
        if !(68..=65535).contains(&max_mtu) {
            // 68 is the least that IPv4 works with (RFC 791, section 3.2).
            return Err(bad(Hostcall::NetAttach, "max_mtu", max_mtu.into(), "not between 68 and 65535"));
        }
        if self.call.budget.entry() != Entry::Probe {
            return Err(bad(Hostcall::NetAttach, "mac", mac, "the interface is attached in `probe`"));
        }
        if self.net.interface.is_some() {
            return Err(bad(Hostcall::NetAttach, "mac", mac, "the interface is attached already"));
        }
        let mac = [a, b, c, d, e, f];
        if mac == [0; 6] || mac[0] & 1 != 0 {
            // What is stored in the device can be wrong: that is not the driver's misuse.
            return Ok(Status::Corrupt.code());
        }
        self.net.interface = Some(Interface { mac, max_mtu_bytes: max_mtu, link: LinkState::default() });
        Ok(0)
    }

    fn net_link(&mut self, up: u32, speed_mbps: u32, full_duplex: u32) -> Result<(), Fault> {
        for (argument, value) in [("up", up), ("full_duplex", full_duplex)] {
            if value > 1 {
                return Err(bad(Hostcall::NetLink, argument, value.into(), "not 0 or 1"));
            }
        }
        self.net.set_link(LinkState { up: up == 1, speed_mbps, full_duplex: full_duplex == 1 });
        Ok(())
    }

    fn net_filter(&mut self, direction: u32, offset: u32, len_bytes: u32) -> Result<u32, Fault> {
        if direction > filter_direction::SENDING {
            return Err(bad(Hostcall::NetFilter, "direction", direction.into(), "not 0 or 1"));
        }
        let (addr, len_bytes) = (u64::from(offset), u64::from(len_bytes));
        if addr + len_bytes > self.window().len_bytes() {
            return Err(Fault::OutOfBounds { call: Hostcall::NetFilter, argument: "offset", addr, len_bytes });
        }
        // A filter is linked in place of this.
        Ok(filter_verdict::PASS)
    }

    fn poll_schedule(&mut self, queue: u32) -> Result<(), Fault> {
        if queue != 0 {
            return Err(bad(Hostcall::PollSchedule, "queue", queue.into(), "the interface has one queue pair"));
        }
        self.call.wanted.poll_again();
        Ok(())
    }
}
