//! How long a controller's own reset takes, without a driver: what a restart cannot be shorter than.

use std::io::{Error, Result};
use std::path::Path;
use std::time::{Duration, Instant};

use nook_bus::{DmaWindow, PciDevice, Width};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_runtime::now_ns;
use nvme_model::{Behaviour, Model, ModelConfig};
use nvme_regs::{ACQ, AQA, ASQ, CC, CSTS};

use super::{Device, make_image};

/// What a controller may take at most.
const PATIENCE: Duration = Duration::from_secs(10);
const WINDOW_BYTES: u64 = 2 << 20;
/// Where the admin queues are in it; nothing is put into them.
const QUEUE_BYTES: u64 = 4096;

fn cannot(error: impl ToString) -> Error {
    Error::other(format!("a controller without a driver: {}", error.to_string()))
}

/// Turns a controller off and on again this often, with an admin queue and no command; returns how long each took, in
/// nanoseconds, sorted.
///
/// # Errors
/// If there is none, or it does not become ready.
pub fn controller_resets_ns(device: Device, times: usize) -> Result<Vec<u64>> {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("disk.img");
    make_image(&image)?;
    let window = DmaWindow::new(WINDOW_BYTES).map_err(cannot)?;
    let mut controller = open(device, &image, &window)?;
    let iova = controller.iova_ranges().first().ok_or_else(|| cannot("it reaches no memory"))?.first;
    controller.dma_map(&window, iova).map_err(cannot)?;
    controller.set_bus_master(true).map_err(cannot)?;
    let mut taken = Vec::new();
    for _ in 0..=times {
        let begin = Instant::now();
        turn(&mut *controller, false)?;
        let write = |controller: &mut dyn PciDevice, offset, width, value| {
            controller.bar_write(0, offset, width, value).map_err(cannot)
        };
        write(&mut *controller, AQA.offset(), Width::B4, (AQA::ASQS.put(31) | AQA::ACQS.put(31)).into())?;
        write(&mut *controller, ASQ.offset(), Width::B8, iova)?;
        write(&mut *controller, ACQ.offset(), Width::B8, iova + QUEUE_BYTES)?;
        turn(&mut *controller, true)?;
        taken.push(begin.elapsed().as_nanos() as u64);
    }
    // The first began with a controller that was off.
    taken.remove(0);
    taken.sort_unstable();
    Ok(taken)
}

fn open(device: Device, image: &Path, window: &DmaWindow) -> Result<Box<dyn PciDevice>> {
    Ok(match device {
        Device::Model => {
            let disk = nvme_model::Disk::in_file(image, 512).map_err(cannot)?;
            Box::new(Model::new(ModelConfig { seed: 1, behaviour: Behaviour::adversarial() }, disk))
        }
        Device::Qemu => {
            let spec = format!("nvme,file={}", image.display()).parse().map_err(cannot)?;
            Box::new(
                QemuDevice::start(QemuConfig::new(spec, QemuNet::User { restrict: true }), window).map_err(cannot)?,
            )
        }
    })
}

/// Turns it on or off, and waits until it says so.
fn turn(controller: &mut dyn PciDevice, on: bool) -> Result<()> {
    // Entries of 64 and of 16 bytes.
    let cc = if on { CC::IOSQES.put(6) | CC::IOCQES.put(4) | CC::EN } else { 0 };
    controller.bar_write(0, CC.offset(), Width::B4, cc.into()).map_err(cannot)?;
    let (begin, ready) = (Instant::now(), if on { u64::from(CSTS::RDY) } else { 0 });
    loop {
        controller.service(now_ns()).map_err(cannot)?;
        let csts = controller.bar_read(0, CSTS.offset(), Width::B4).map_err(cannot)?;
        if csts & u64::from(CSTS::RDY) == ready {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(cannot(format!("CSTS is {csts:#x} for {PATIENCE:?}")));
        }
        std::thread::yield_now();
    }
}
