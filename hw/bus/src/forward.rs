//! What middleware around a device does not change.

/// Implements methods of [`PciDevice`](crate::PciDevice) by those of another device: `|self| self.device => describe
/// identity` inside an `impl`.
#[macro_export]
macro_rules! forward_pci_device {
    (|$this:ident| $device:expr => $($method:ident)*) => {
        $($crate::forward_pci_device!(@$method $this $device);)*
    };
    (@describe $this:ident $device:expr) => {
        fn describe(&$this) -> String {
            $device.describe()
        }
    };
    (@identity $this:ident $device:expr) => {
        fn identity(&$this) -> $crate::PciIdentity {
            $device.identity()
        }
    };
    (@bars $this:ident $device:expr) => {
        fn bars(&$this) -> &[$crate::BarInfo] {
            $device.bars()
        }
    };
    (@config_read $this:ident $device:expr) => {
        fn config_read(&mut $this, offset: u16, width: $crate::Width) -> $crate::Result<u32> {
            $device.config_read(offset, width)
        }
    };
    (@bar_read $this:ident $device:expr) => {
        #[inline]
        fn bar_read(&mut $this, bar: u8, offset: u32, width: $crate::Width) -> $crate::Result<u64> {
            $device.bar_read(bar, offset, width)
        }
    };
    (@bar_write $this:ident $device:expr) => {
        #[inline]
        fn bar_write(&mut $this, bar: u8, offset: u32, width: $crate::Width, value: u64) -> $crate::Result<()> {
            $device.bar_write(bar, offset, width, value)
        }
    };
    (@bar_map $this:ident $device:expr) => {
        fn bar_map(
            &mut $this,
            bar: u8,
            reserve_bytes: usize,
        ) -> $crate::Result<::std::sync::Arc<dyn $crate::BarMemory>> {
            $device.bar_map(bar, reserve_bytes)
        }
    };
    (@flush $this:ident $device:expr) => {
        fn flush(&mut $this) -> $crate::Result<()> {
            $device.flush()
        }
    };
    (@iova_ranges $this:ident $device:expr) => {
        fn iova_ranges(&$this) -> Vec<$crate::IovaRange> {
            $device.iova_ranges()
        }
    };
    (@dma_map $this:ident $device:expr) => {
        fn dma_map(&mut $this, window: &$crate::DmaWindow, iova: u64) -> $crate::Result<()> {
            $device.dma_map(window, iova)
        }
    };
    (@dma_unmap $this:ident $device:expr) => {
        fn dma_unmap(&mut $this, iova: u64) -> $crate::Result<()> {
            $device.dma_unmap(iova)
        }
    };
    (@dma_faults $this:ident $device:expr) => {
        fn dma_faults(&$this) -> u64 {
            $device.dma_faults()
        }
    };
    (@set_bus_master $this:ident $device:expr) => {
        fn set_bus_master(&mut $this, on: bool) -> $crate::Result<()> {
            $device.set_bus_master(on)
        }
    };
    (@reset $this:ident $device:expr) => {
        fn reset(&mut $this) -> $crate::Result<$crate::ResetKind> {
            $device.reset()
        }
    };
    (@irq_enable $this:ident $device:expr) => {
        fn irq_enable(&mut $this, vectors: u32) -> $crate::Result<($crate::IrqKind, u32)> {
            $device.irq_enable(vectors)
        }
    };
    (@irq_disable $this:ident $device:expr) => {
        fn irq_disable(&mut $this) -> $crate::Result<()> {
            $device.irq_disable()
        }
    };
    (@irq_unmask $this:ident $device:expr) => {
        fn irq_unmask(&mut $this, vector: u32) -> $crate::Result<()> {
            $device.irq_unmask(vector)
        }
    };
    (@service $this:ident $device:expr) => {
        #[inline]
        fn service(&mut $this, now_ns: u64) -> $crate::Result<$crate::Service> {
            $device.service(now_ns)
        }
    };
    (@event_fds $this:ident $device:expr) => {
        fn event_fds(&$this, fds: &mut Vec<::std::os::fd::RawFd>) {
            $device.event_fds(fds)
        }
    };
}
