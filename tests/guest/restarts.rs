//! `nook-restarts ADDRESS`: ends a driver under traffic, with the receiver on, and starts it again, in one process and
//! on one window, and looks for what its device wrote into the window that it should not have written. For the guest of
//! `cargo xtask guest-test`, whose user network answers ARP requests at 10.0.2.2. It is test equipment.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nook_abi::net::{NetKeys, PoolLayout};
use nook_bus::DmaWindow;
use nook_runtime::{DriverModule, Mmio, ModuleCache, Net, Nook, NookBuilder, NookError, Wasi, WasmLauncher, now_ns};
use nook_tests::FrameQueues;
use pci_passthrough::VfioDevice;

type Error = Box<dyn std::error::Error>;

const DRIVER: &str = "/drivers/e1000.wasm";
const ROUNDS: u32 = 3;
const PATIENCE_NS: u64 = 20_000_000_000;
/// Longer than anything that the card could have under way takes.
const QUIET: Duration = Duration::from_millis(100);
const PATTERN: u8 = 0xa5;
/// Requests that are offered at once.
const BATCH: usize = 64;

/// What was seen.
#[derive(Default)]
struct Seen {
    received: u64,
    /// Bytes of the window that changed while no driver ran.
    written_between: usize,
    /// Frames that came to the fresh instances before they were given anything to send.
    received_after: u64,
    /// Packet buffers that changed meanwhile: those for receiving, and those for sending.
    changed_rx: usize,
    changed_tx: usize,
}

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: nook-restarts ADDRESS");
        return ExitCode::from(2);
    };
    match run(&address) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nook-restarts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> Result<bool, Error> {
    let module = Arc::new(DriverModule::load(DRIVER.as_ref(), Wasi::Refused)?);
    let window = DmaWindow::new(module.layout().window_bytes)?;
    let host = NookBuilder::of(&module, &[&e1000_regs::MAP])
        .in_window(window.clone())
        .host(Box::new(VfioDevice::open(address.parse()?)?))?;
    let pool = nook_runtime::pool_of(module.manifest());
    let rx_buffers = NetKeys::of(module.manifest()).ok_or("a network driver")?.rx_buffers as usize;
    let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated)?;
    let mut nook = Nook::net(host, Box::new(launcher), FrameQueues::default());
    nook.start()?;
    let mut seen = Seen::default();
    for round in 0..ROUNDS {
        until_received(&mut nook, "500 answers", 500)?;
        // Somewhere in the middle, and with requests on their way whose answers nobody will take.
        for _ in 0..=round {
            ask(&mut nook);
            nook.turn(now_ns())?;
        }
        seen.received += nook.backend_mut().received.drain(..).count() as u64;
        nook.backend_mut().to_send.clear();
        nook.shut()?;
        fill(&window);
        std::thread::sleep(QUIET);
        seen.written_between += changed(&window, 0, window.len_bytes() as usize);
        let before = nook.net_counters().rx_packets;
        nook.restart()?;
        // Whatever waited for the card's receiver comes now. QEMU's cards receive nothing for a second.
        let end = now_ns() + 1_500_000_000;
        while now_ns() < end {
            nook.turn(end.min(now_ns() + 10_000_000))?;
        }
        seen.received_after += nook.net_counters().rx_packets - before;
        let buffers: Vec<bool> = (0..pool.count).map(|id| is_changed(&window, &pool, id)).collect();
        let (rx, tx) = buffers.split_at(rx_buffers);
        let (rx, tx) = (rx.iter().filter(|&&changed| changed).count(), tx.iter().filter(|&&changed| changed).count());
        (seen.changed_rx, seen.changed_tx) = (seen.changed_rx + rx, seen.changed_tx + tx);
    }
    let blocked = nook.host().dma_faults();
    nook.stop()?;
    let Seen { received, written_between, received_after, changed_rx, changed_tx } = seen;
    println!(
        "{{\"restarts\": {ROUNDS}, \"received\": {received}, \"bytes_written_between\": {written_between}, \
         \"received_after\": {received_after}, \"rx_buffers_changed\": {changed_rx}, \
         \"tx_buffers_changed\": {changed_tx}, \"blocked\": {blocked}}}"
    );
    // Each frame changes one buffer at most, and nothing was sent.
    Ok(written_between == 0 && changed_rx as u64 <= received_after && changed_tx == 0)
}

/// Offers requests, each of which is answered.
fn ask(nook: &mut Nook<Net<FrameQueues>>) {
    let Some(mac) = nook.backend().mac else { return };
    // Ethernet, then ARP: who has 10.0.2.2, tell 10.0.2.15 (RFC 826).
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    frame.resize(60, 0);
    let to_send = &mut nook.backend_mut().to_send;
    while to_send.len() < BATCH {
        to_send.push_back(frame.clone());
    }
}

/// Keeps asking until `enough` answers came.
fn until_received(nook: &mut Nook<Net<FrameQueues>>, what: &str, enough: usize) -> Result<(), Error> {
    let end = now_ns() + PATIENCE_NS;
    while nook.backend().received.len() < enough {
        if now_ns() > end {
            return Err(format!("{what} did not come; {:?}", nook.counters()).into());
        }
        ask(nook);
        nook.turn(now_ns() + 10_000_000).map_err(|error: NookError| format!("waiting for {what}: {error}"))?;
    }
    Ok(())
}

fn fill(window: &DmaWindow) {
    window.slice().copy_from(&vec![PATTERN; window.len_bytes() as usize]);
}

/// Bytes from `offset` on that are no longer as [`fill`] left them.
fn changed(window: &DmaWindow, offset: usize, len: usize) -> usize {
    let mut bytes = vec![0u8; len];
    window.slice().subslice(offset, len).expect("inside the window").copy_to(&mut bytes);
    bytes.iter().filter(|&&byte| byte != PATTERN).count()
}

fn is_changed(window: &DmaWindow, pool: &PoolLayout, id: u32) -> bool {
    let offset = pool.offset as usize + id as usize * pool.stride_bytes as usize;
    changed(window, offset, pool.stride_bytes as usize) > 0
}
