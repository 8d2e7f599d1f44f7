//! Checks this crate on a real bus: an 82540EM, 82545EM or 82574L that nothing else uses, which is bound to vfio-pci,
//! driven, made to vanish, and given back to its kernel driver. Meant for a guest with an emulated IOMMU, where
//! `remove` and blocked DMA harm nobody. One line a check; the first that fails ends it with exit code 1.
//!
//! `vfio_check <address> card | remove | decoding | zapped | hold | open | release`

mod card;

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e1000_regs::{self as regs, CTRL, STATUS, TCTL};
use nook_bus::{BarMemory, BarSpace, DeviceError, DmaWindow, IrqKind, PciDevice, ResetKind, Width, config};
use pci_passthrough::{Binder, NetUse, OpenError, PciAddress, Roots, Sysfs, VfioDevice, doctor};

use card::{Card, DEVICE_82574L, now_ns, wait};

/// Where the window is mapped: first here, then there.
const IOVAS: [u64; 2] = [0x1000_0000, 0x2000_0000];
/// Where nothing is mapped.
const NOWHERE: u64 = 0x3000_0000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, mode] = arguments.as_slice() else {
        bail!("usage: vfio_check <address> card|remove|decoding|zapped|hold|open|release")
    };
    let address: PciAddress = address.parse()?;
    match mode.as_str() {
        "card" => whole_card(address),
        "remove" => removed(address),
        "decoding" => decoding_off_behind_our_back(address),
        "zapped" => decoding_off_through_vfio(address),
        "hold" => hold(address),
        "open" => VfioDevice::open(address).map(|device| ok("open", device.describe())).map_err(Into::into),
        "release" => release(address),
        other => bail!("no mode `{other}`"),
    }
}

fn ok(what: &str, detail: impl std::fmt::Display) {
    println!("ok {what}: {detail}");
}

fn bind(address: PciAddress) -> Result<()> {
    let bound = Binder::new().bind(address, &NetUse::read()?, false)?;
    ok("bind", format!("{bound:?}"));
    let function = Sysfs::default().device(address)?;
    ensure!(function.driver.as_deref() == Some("vfio-pci"), "{function:?}");
    Ok(())
}

fn release(address: PciAddress) -> Result<()> {
    let released = Binder::new().unbind(address, false)?;
    ensure!(released.to.as_deref().is_some_and(|driver| driver.starts_with("e1000")), "{released:?}");
    ok("release", format!("{released:?}"));
    Ok(())
}

/// Returns a card that is up, with its window at the first IOVA.
fn up(address: PciAddress) -> Result<Card> {
    let mut device = VfioDevice::open(address)?;
    let window = DmaWindow::new(1)?;
    device.dma_map(&window, IOVAS[0])?;
    let mut card = Card::new(device, window, IOVAS[0]);
    card.reset_chip()?;
    card.device.set_bus_master(true)?;
    Ok(card)
}

fn whole_card(address: PciAddress) -> Result<()> {
    for check in doctor(&Roots::default()) {
        println!("doctor: {check:?}");
    }
    bind(address)?;
    let mut card = up(address)?;
    ok("open", format!("{}, {:?}, BARs {:?}", card.device.describe(), card.device.identity(), card.device.bars()));
    held_is_busy(address)?;
    configuration(&mut card)?;
    registers(&mut card)?;
    let direct = direct_registers(&mut card)?;
    windows(&mut card)?;
    traffic(&mut card)?;
    interrupts(&mut card)?;
    confinement(&mut card)?;
    reset(&mut card)?;
    drop(card);
    ensure!(first_word(&direct, regs::STATUS.offset()) == u32::MAX, "a mapping outlived its device");
    ok("drop", "the handed-out BAR is revoked");
    drop(direct);
    let mut again = up(address)?;
    again.interrupt_setup_and_round()?;
    ok("open again", "interrupts work");
    drop(again);
    release(address)
}

fn held_is_busy(address: PciAddress) -> Result<()> {
    let error = VfioDevice::open(address).expect_err("opened twice");
    ensure!(matches!(error, OpenError::Busy { .. }), "{error}");
    let error = Binder::new().unbind(address, false).expect_err("released while it is driven");
    ensure!(error.to_string().contains("vfio_check"), "{error}");
    ok("held", error);
    Ok(())
}

fn configuration(card: &mut Card) -> Result<()> {
    let command = card.device.config_read(config::COMMAND, Width::B2)?;
    ensure!(command as u16 & 0x7 != 0, "command {command:#x}");
    ok("configuration", format!("command {:#06x}", card.device.config_read(config::COMMAND, Width::B2)?));
    Ok(())
}

fn registers(card: &mut Card) -> Result<()> {
    let status = card.read(regs::STATUS)?;
    ensure!(status & STATUS::LU != 0, "STATUS {status:#x}");
    let address = (card.read(regs::RAL.get(0))?, card.read(regs::RAH.get(0))?);
    ensure!(address.0 != 0 && address.1 >> 31 == 1, "{address:x?}");
    // IOADDR and IODATA (8254x manual, 13.3.1): the same registers through I/O ports, which cannot be mapped.
    let io = card.device.bars().iter().find(|bar| bar.space == BarSpace::Io).map(|bar| bar.index);
    let io = io.context("no I/O BAR")?;
    card.device.bar_write(io, 0, Width::B4, regs::STATUS.offset().into())?;
    let through_ports = card.device.bar_read(io, 4, Width::B4)?;
    // QEMU's 8254x has the ports and answers 0 there.
    let expected = through_ports == u64::from(status) || !card.is_express() && through_ports == 0;
    ensure!(expected, "{through_ports:#x} by ports, {status:#x} by memory");
    card.device.flush()?;
    ok("registers", format!("STATUS {status:#010x} by memory, {through_ports:#x} by ports, address {address:x?}"));
    if card.is_express() {
        let error = card.device.bar_read(3, 0, Width::B4).expect_err("the MSI-X table was read");
        ensure!(matches!(error, DeviceError::NoSuchRegister { .. }), "{error}");
        let error = card.device.bar_map(3, 0).expect_err("the MSI-X table was handed out");
        ok("MSI-X table", error);
    }
    Ok(())
}

fn first_word(direct: &Arc<dyn BarMemory>, offset: u32) -> u32 {
    assert!(offset as usize + 4 <= direct.len_bytes() && offset.is_multiple_of(4));
    // SAFETY: inside the mapping and aligned; volatile.
    unsafe { direct.base().add(offset as usize).cast::<u32>().read_volatile() }
}

fn direct_registers(card: &mut Card) -> Result<Arc<dyn BarMemory>> {
    let direct = card.device.bar_map(0, 1 << 20)?;
    ensure!(direct.reserved_bytes() == 1 << 20 && direct.len_bytes() == 0x2_0000, "{direct:?}");
    let status = card.read(regs::STATUS)?;
    ensure!(first_word(&direct, regs::STATUS.offset()) == status, "direct registers differ");
    ok("direct registers", format!("STATUS {status:#010x}"));
    Ok(direct)
}

fn windows(card: &mut Card) -> Result<()> {
    let ranges = card.device.iova_ranges();
    for iova in [0xfee0_0000, IOVAS[0] + 0x1000, u64::MAX - 0xfff] {
        let error = card.device.dma_map(&card.window, iova).expect_err("mapped");
        ensure!(matches!(error, DeviceError::Unmappable { .. }), "{error}");
    }
    card.device.dma_unmap(IOVAS[0])?;
    ensure!(card.device.dma_unmap(IOVAS[0]).is_err(), "unmapped twice");
    card.device.dma_map(&card.window, IOVAS[1])?;
    card.iova = IOVAS[1];
    ok("windows", format!("{ranges:x?}"));
    Ok(())
}

fn traffic(card: &mut Card) -> Result<()> {
    card.start_rings()?;
    for fill in 1..=20 {
        card.send(fill)?;
    }
    card.loopback(true)?;
    for fill in 101..=120 {
        card.send_to_itself(fill)?;
    }
    card.loopback(false)?;
    ok("traffic", "20 frames out, 20 frames in a loop");
    Ok(())
}

impl Card {
    fn interrupt_setup_and_round(&mut self) -> Result<(IrqKind, u32)> {
        let enabled = self.device.irq_enable(1)?;
        self.interrupt_rounds(200)?;
        Ok(enabled)
    }
}

fn interrupts(card: &mut Card) -> Result<()> {
    let enabled = card.interrupt_setup_and_round()?;
    let expected = if card.is_express() { (IrqKind::Msi, 1) } else { (IrqKind::Intx, 1) };
    ensure!(enabled == expected, "{enabled:?}");
    ok("interrupts", format!("200 of 200 by {enabled:?}"));
    if enabled.0 == IrqKind::Intx {
        card.unmask_causes(regs::ICR::LSC)?;
        card.raise(regs::ICR::LSC)?;
        card.wait_for_irq()?;
        card.raise(regs::ICR::LSC)?;
        ensure!(card.irqs_now()? == 0, "a masked line fired");
        card.device.irq_unmask(0)?;
        card.wait_for_irq().context("a line that is still asserted")?;
        card.read(regs::ICR)?;
        card.device.irq_unmask(0)?;
        ensure!(card.irqs_now()? == 0, "a line that is no longer asserted fired");
        ok("INTx", "masked until it is opened; fires again while asserted");
    } else {
        // 82574 datasheet, 10.2.4.9 and 10.2.4.2: IVAR sends receive queue 0 (cause 20) to vector 2.
        let (ivar, queue0) = (nook_regs::Register::at(0xe4), 1 << 20);
        // QEMU 7.2's model ends itself when MSI-X is turned on or off while it holds interrupts back, which it does
        // for 128 microseconds after each.
        let settle = || std::thread::sleep(Duration::from_millis(20));
        settle();
        let enabled = card.device.irq_enable(3)?;
        ensure!(enabled == (IrqKind::MsiX, 3), "{enabled:?}");
        card.write(ivar, 0x8 | 2)?;
        card.unmask_causes(queue0)?;
        card.raise(queue0)?;
        let irqs = card.wait_for_irq()?;
        ensure!(irqs == 0b100, "vectors {irqs:#x}");
        card.write(ivar, 0)?;
        settle();
        ok("MSI-X", "vector 2 of 3");
    }
    card.write(regs::IMC, u32::MAX)?;
    card.device.irq_disable()?;
    Ok(())
}

fn confinement(card: &mut Card) -> Result<()> {
    ensure!(card.device.dma_faults() == 0, "{} faults before", card.device.dma_faults());
    card.start_rings()?;
    card.transmit_from(NOWHERE, 60)?;
    wait("the IOMMU's fault", || Ok(card.device.dma_faults() > 0))?;
    ok("confinement", format!("{} blocked accesses", card.device.dma_faults()));
    // What was mapped before is mapped no more.
    let before = card.device.dma_faults();
    wait("the fault of a stale address", || {
        // Again and again: an IOMMU may tell of several faults of one device as one.
        card.transmit_from(IOVAS[0], 60)?;
        Ok(card.device.dma_faults() > before)
    })?;
    ok("stale address", format!("{} blocked accesses", card.device.dma_faults()));
    Ok(())
}

fn reset(card: &mut Card) -> Result<()> {
    ensure!(card.read(regs::TDBAL)? != 0, "nothing to reset");
    let kind = card.device.reset()?;
    let express = card.device.identity().device == DEVICE_82574L;
    ensure!(kind == if express { ResetKind::Function } else { ResetKind::None }, "{kind:?}");
    if kind == ResetKind::Function {
        let command = card.device.config_read(config::COMMAND, Width::B2)? as u16;
        ensure!(command & config::COMMAND_BUS_MASTER == 0, "bus mastering is on after a reset");
        ensure!(card.read(regs::CTRL)? & CTRL::RST == 0, "it is still in reset");
        // The kernel resets an 82574L by way of power state D3hot, which a chip answers with a reset (PCI Power
        // Management 1.2, 3.2.4) and QEMU's model does not.
        let on = card.read(regs::TCTL)? & TCTL::EN != 0;
        ok(
            "registers after the reset",
            if on { "as before: a model without power states" } else { "at their defaults" },
        );
    }
    card.device.set_bus_master(true)?;
    card.reset_chip()?;
    card.start_rings()?;
    card.send(99)?;
    ok("reset", format!("{kind:?}, and it works afterwards"));
    Ok(())
}

/// Expects `Gone` from everything, and that taking things away still works.
fn expect_gone(card: &mut Card, error: DeviceError) -> Result<()> {
    ensure!(matches!(error, DeviceError::Gone(_)), "{error}");
    ok("gone", &error);
    for error in [
        card.device.bar_read(0, 8, Width::B4).expect_err("read"),
        card.device.bar_write(0, 8, Width::B4, 0).expect_err("write"),
        card.device.service(now_ns()).expect_err("service"),
        card.device.config_read(0, Width::B4).expect_err("configuration"),
        card.device.reset().expect_err("reset"),
    ] {
        ensure!(matches!(error, DeviceError::Gone(_)), "{error}");
    }
    card.device.irq_disable()?;
    card.device.set_bus_master(false)?;
    card.device.dma_unmap(card.iova)?;
    Ok(())
}

/// Works until the device is gone.
fn work_until_gone(card: &mut Card) -> Result<DeviceError> {
    let mut gone = None;
    card.serve_while(|card| {
        let step = card.send(7).map(drop).and_then(|()| Ok(card.device.service(now_ns())?));
        match step {
            Ok(_) => Ok(ControlFlow::Continue(())),
            Err(error) => {
                gone = Some(error.downcast::<DeviceError>()?);
                Ok(ControlFlow::Break(()))
            }
        }
    })?;
    gone.context("no error")
}

fn removed(address: PciAddress) -> Result<()> {
    bind(address)?;
    let mut card = up(address)?;
    card.device.irq_enable(1)?;
    card.start_rings()?;
    card.send(1)?;
    // The write returns when the device has been let go.
    let path = Sysfs::default().device_path(address).join("remove");
    let remover = std::thread::spawn(move || std::fs::write(path, "1"));
    let error = work_until_gone(&mut card)?;
    expect_gone(&mut card, error)?;
    drop(card);
    remover.join().expect("the writer panicked")?;
    ensure!(Sysfs::default().device(address).is_err(), "it is still listed");
    let error = VfioDevice::open(address).expect_err("opened");
    ok("removed", error);
    std::fs::write("/sys/bus/pci/rescan", "1")?;
    let driver = Sysfs::default().device(address)?.driver;
    ensure!(driver.as_deref().is_some_and(|driver| driver.starts_with("e1000")), "{driver:?}");
    ok("found again", format!("driver {driver:?}"));
    Ok(())
}

fn decoding_off_behind_our_back(address: PciAddress) -> Result<()> {
    bind(address)?;
    for direct in [false, true] {
        let mut card = up(address)?;
        let mapping = card.device.bar_map(0, 0)?;
        let command = card.device.config_read(config::COMMAND, Width::B2)? as u16;
        let file = OpenOptions::new().write(true).open(Sysfs::default().device_path(address).join("config"))?;
        let off = command & !config::COMMAND_MEMORY;
        file.write_all_at(&off.to_le_bytes(), config::COMMAND.into())?;
        // A bus answers ones for nobody; QEMU's answers 0, which service sees through.
        let error = match first_word(&mapping, 8) {
            u32::MAX if !direct => card.device.bar_read(0, 8, Width::B4).expect_err("read"),
            u32::MAX | 0 => {
                let mut error = None;
                wait("service to notice", || {
                    error = card.device.service(now_ns()).err();
                    Ok(error.is_some())
                })?;
                error.context("no error")?
            }
            status => bail!("it still answers: {status:#x}"),
        };
        expect_gone(&mut card, error)?;
    }
    release(address)
}

/// Does what a driver of this process cannot do, because configuration space has its allow-list: turns decoding off
/// through VFIO, which takes mapped pages away, so that the next access is a SIGBUS.
fn decoding_off_through_vfio(address: PciAddress) -> Result<()> {
    bind(address)?;
    for direct in [false, true] {
        let mut card = up(address)?;
        let mapping = card.device.bar_map(0, 0)?;
        card.read(regs::STATUS)?;
        ensure!(first_word(&mapping, 8) != u32::MAX, "it does not answer");
        let device = std::fs::read_dir("/proc/self/fd")?
            .flatten()
            .find(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("vfio-device")))
            .and_then(|fd| fd.file_name().to_str()?.parse::<i32>().ok())
            .context("no VFIO device among the descriptors")?;
        // Configuration space is region 7; a region's number stands in bits 40 and up of its place in the file.
        let place = (7 << 40) + i64::from(config::COMMAND);
        // SAFETY: two bytes from two bytes; the descriptor is open.
        let written = unsafe { libc::pwrite(device, [0u8, 0].as_ptr().cast(), 2, place) };
        ensure!(written == 2, "{}", std::io::Error::last_os_error());
        let error = if direct {
            ensure!(first_word(&mapping, 8) == u32::MAX, "it still answers");
            ensure!(mapping.lost(), "there was no SIGBUS");
            card.device.service(now_ns()).expect_err("service")
        } else {
            card.device.bar_read(0, 8, Width::B4).expect_err("read")
        };
        expect_gone(&mut card, error)?;
    }
    release(address)
}

/// Receives and interrupts for ever, to be killed.
fn hold(address: PciAddress) -> Result<()> {
    bind(address)?;
    let mut card = up(address)?;
    card.device.irq_enable(1)?;
    card.start_rings()?;
    card.unmask_causes(u32::MAX)?;
    ok("holding", address);
    loop {
        card.send(3)?;
        card.irqs_now()?;
    }
}
