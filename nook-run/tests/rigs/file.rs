//! A file that is fetched over TCP through a driver, a card that we did not write, and QEMU's user network.

use std::fs;
use std::sync::Arc;

use nook_abi::Hex;
use nook_bus::DmaWindow;
use nook_net::{Content, IpHost, IpHostConfig, Plan, Server, TcpPlan};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_runtime::{DriverModule, Mmio, ModuleCache, Nook, NookBuilder, Wasi, WasmLauncher, now_ns};
use sha2::{Digest, Sha256};

use crate::command::driver;

const BYTES: u64 = 64 << 20;

#[test]
fn a_file_of_64_mib_arrives_with_the_right_hash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    // Anything that no hash would forgive if it were moved or repeated.
    let content: Vec<u8> = (0..BYTES / 8).flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()).collect();
    fs::write(&path, &content).unwrap();
    let wanted = Hex::of(&Sha256::digest(&content)).to_string();

    for model in ["e1000", "e1000-82545em", "e1000e"] {
        let server = Server::start(Content::File(path.clone())).unwrap();
        let module = Arc::new(DriverModule::load(&driver(), Wasi::Refused).unwrap());
        let window = DmaWindow::new(module.layout().window_bytes).unwrap();
        let config = QemuConfig::new(model.parse().unwrap(), QemuNet::User { restrict: false });
        let device = QemuDevice::start(config, &window).unwrap();
        let host = NookBuilder::of(&module, &[&e1000_regs::MAP]).in_window(window).host(Box::new(device));
        let mut above = IpHost::new(IpHostConfig::default());
        let tcp = TcpPlan { bytes: BYTES, upload: false, download: true, ..TcpPlan::default() };
        above.start(Plan { port: server.port(), tcp: Some(tcp), ..Plan::default() });
        let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
        let mut nook = Nook::net(host.unwrap(), Box::new(launcher), above);
        nook.start().unwrap();
        let end = now_ns() + 120_000_000_000;
        while !nook.backend().finished() {
            assert!(now_ns() < end, "{model}: it takes two minutes");
            nook.turn(now_ns() + 10_000_000).unwrap();
        }
        let report = nook.backend().report().tcp.clone().unwrap();
        let download = report.download.unwrap();
        assert_eq!((download.bytes, download.hash_ok), (BYTES, true), "{model}");
        assert_eq!(download.sha256, wanted, "{model}");
        nook.stop().unwrap();
    }
}
