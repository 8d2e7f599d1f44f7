//! Programs of others against the server: libnbd's tools, QEMU's, and fio. `cargo xtask setup` installs them.

mod rig;

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Command;

use nook_block::{NbdAddress, NbdOptions, NbdServer};
use nook_block_api::Op;
use rig::{Plan, content, outcome, random_file, run};

#[test]
fn nbdinfo_shows_what_the_disk_is() {
    let mut plan = Plan::disk(8);
    plan.options.name = "a disk".into();
    plan.options.description = "eight mebibytes in memory".into();
    let serving = plan.serve();
    let shown = run(Command::new("nbdinfo").args(["--json", &serving.uri]));
    for part in [
        "\"export-size\": 8388608",
        "\"is_read_only\": false",
        "\"can_flush\": true",
        "\"can_fua\": true",
        "\"can_trim\": true",
        "\"can_zero\": true",
        "\"can_fast_zero\": true",
        "\"can_multi_conn\": true",
        "\"can_df\": false",
        "\"is_rotational\": false",
        "\"block_size_minimum\": 512",
        "\"block_size_preferred\": 4096",
        "\"block_size_maximum\": 4194304",
        "\"structured\": true",
        "eight mebibytes in memory",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    let listed = run(Command::new("nbdinfo").args(["--list", &serving.uri]));
    assert!(listed.contains("export=\"a disk\"") && listed.contains("eight mebibytes in memory"), "{listed}");
}

#[test]
fn a_disk_that_offers_less_is_announced_with_less() {
    let mut plan = Plan::disk(1);
    plan.geometry.write_zeroes = false;
    plan.geometry.block_bytes = 4096;
    plan.geometry.blocks /= 8;
    let serving = plan.serve();
    let shown = run(Command::new("nbdinfo").args(["--json", &serving.uri]));
    for part in ["\"can_trim\": false", "\"can_zero\": false", "\"can_fast_zero\": false", "minimum\": 4096"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    serving.nbdsh(
        "h.connect_uri(uri)\nh.set_strict_mode(0)\n\
         for refused in (lambda: h.zero(4096, 0), lambda: h.trim(4096, 0), lambda: h.pread(512, 0)):\n\
         \x20   try:\n        refused()\n        assert False\n\
         \x20   except nbd.Error as error:\n        assert error.errnum == errno.EINVAL, error\n",
    );
}

#[test]
fn nbdcopy_copies_in_and_out_and_the_content_is_equal() {
    for (tcp, seed) in [(false, 1), (true, 2)] {
        let serving = Plan { seed, tcp, ..Plan::disk(32) }.serve();
        let (from, to) = (serving.path("from"), serving.path("to"));
        let bytes = random_file(&from, 32 << 20, seed);
        run(Command::new("nbdcopy").arg("--flush").arg(&from).arg(&serving.uri));
        run(Command::new("nbdcopy").arg(&serving.uri).arg(&to));
        assert!(content(&to) == bytes, "what was read is not what was written");
        let medium = serving.end();
        assert!(medium.content == bytes && medium.durable == bytes, "what the disk holds is not what was written");
    }
}

#[test]
fn nbdcopy_that_keeps_room_for_zeroes_has_them_written() {
    let serving = Plan::disk(8).serve();
    let from = serving.path("from");
    let mut bytes = vec![0; 8 << 20];
    bytes[5 << 20..6 << 20].fill(0x5a);
    // With holes.
    let file = std::fs::File::create(&from).unwrap();
    file.set_len(8 << 20).unwrap();
    file.write_all_at(&bytes[5 << 20..6 << 20], 5 << 20).unwrap();
    run(Command::new("nbdcopy").args(["--allocated", "--flush"]).arg(&from).arg(&serving.uri));
    let medium = serving.end();
    assert!(medium.content == bytes && medium.durable == bytes);
    assert!(medium.counts[&Op::WriteZeroes] > 0 && !medium.counts.contains_key(&Op::Discard));
}

#[test]
fn qemu_img_converts_in_and_out_and_finds_no_difference() {
    let serving = Plan::disk(16).serve();
    let (from, to) = (serving.path("from"), serving.path("to"));
    random_file(&from, 16 << 20, 3);
    let raw = ["-f", "raw", "-O", "raw"];
    let img = |words: &[&str]| run(Command::new("qemu-img").args(words));
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    img(&[&["convert", "-n"], &raw[..], &[from, &serving.uri]].concat());
    img(&[&["convert"], &raw[..], &[&serving.uri, to]].concat());
    let same = img(&["compare", "-f", "raw", "-F", "raw", from, to]);
    assert!(same.contains("identical"), "{same}");
    let same = img(&["compare", "-f", "raw", "-F", "raw", from, &serving.uri]);
    assert!(same.contains("identical"), "{same}");
    let info = img(&["info", "--output=json", &serving.uri]);
    assert!(info.contains("\"virtual-size\": 16777216"), "{info}");
}

#[test]
fn qemu_io_writes_and_reads_patterns_zeroes_and_odd_discards() {
    let serving = Plan::disk(16).serve();
    let io = |commands: &[&str]| {
        let words = commands.iter().flat_map(|command| ["-c", command]);
        // Less than a block is read, changed and written by QEMU itself.
        let text = run(Command::new("qemu-io").args(["-f", "raw"]).args(words).arg(&serving.uri));
        assert!(!text.contains("failed") && !text.contains("error"), "{text}");
    };
    io(&["write -P 17 0 1M", "write -P 18 1000 100", "write -f -P 19 3M 8M", "flush"]);
    io(&["read -P 17 0 1000", "read -P 18 1000 100", "read -P 17 1100 512", "read -P 19 3M 8M"]);
    io(&["write -z 4M 1M", "read -P 0 4M 1M", "write -z -u 5M 1M", "read -P 0 5M 1M", "write -z -n 6M 1M"]);
    io(&["discard 7340132 2000", "discard 7340132 100", "flush", "read -P 19 7M 100", "read -P 0 7340544 1024"]);
    io(&["aio_write -P 20 8M 2M", "aio_write -P 21 10M 2M", "aio_flush", "read -P 20 8M 2M", "read -P 21 10M 2M"]);
    let medium = serving.end();
    assert!(medium.fua > 0 && medium.counts[&Op::Flush] > 0);
    assert!(medium.content[8 << 20..10 << 20].iter().all(|&byte| byte == 20));
}

#[test]
fn fio_verifies_what_it_wrote() {
    if !run(Command::new("fio").arg("--enghelp")).contains("nbd") {
        panic!("this fio has no nbd engine; Debian's has one");
    }
    let serving = Plan { depth: 32, ..Plan::disk(32) }.serve();
    let fio = |words: &[&str]| {
        let uri = format!("--uri={}", serving.uri);
        let always = ["--name=verify", "--ioengine=nbd", "--size=32M", "--verify=crc32c", "--verify_fatal=1"];
        let text = run(Command::new("fio").current_dir(serving.folder.path()).args(always).arg(uri).args(words));
        assert!(text.contains("err= 0"), "{text}");
    };
    fio(&["--rw=randwrite", "--bs=4k", "--iodepth=32"]);
    fio(&["--rw=randrw", "--bsrange=512-256k", "--bs_unaligned=0", "--iodepth=8", "--fsync=16"]);
    fio(&["--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1"]);
    let medium = serving.end();
    assert!(medium.content == medium.durable, "the last flush covered everything");
}

#[test]
fn a_failing_block_is_an_error_of_its_requests_and_of_no_other() {
    let serving = Plan { poison: Some(5000), ..Plan::disk(8) }.serve();
    serving.nbdsh(
        "h.connect_uri(uri)\n\
         def fails(work):\n    try:\n        work()\n    except nbd.Error as error:\n\
         \x20       assert error.errnum == errno.EIO, error\n        return\n    assert False\n\
         fails(lambda: h.pread(512, 5000 * 512))\n\
         fails(lambda: h.pread(4 << 20, 0))\n\
         fails(lambda: h.pwrite(bytes(1 << 20), 4900 * 512))\n\
         fails(lambda: h.zero(1 << 20, 4900 * 512))\n\
         assert h.pread(512, 5001 * 512) == bytes([5001 % 251]) * 512\n\
         h.pwrite(b'x' * 512, 4999 * 512)\nassert h.pread(512, 4999 * 512) == b'x' * 512\n\
         s = nbd.NBD()\ns.set_request_structured_replies(False)\ns.connect_uri(uri)\n\
         fails(lambda: s.pread(1 << 20, 4900 * 512))\n\
         assert s.pread(512, 4999 * 512) == b'x' * 512\n",
    );
    let (succeeded, said) = outcome(Command::new("nbdcopy").args([&serving.uri, "null:"]));
    assert!(!succeeded && said.contains("Input/output error"), "{said}");
}

#[test]
fn a_server_that_a_client_starts_takes_the_socket_that_was_passed() {
    const NAME: &str = "a_server_that_a_client_starts_takes_the_socket_that_was_passed";
    if let Ok(server) = NbdServer::listen(&NbdAddress::Systemd, NbdOptions::default()) {
        // This program is the server, started by the client below, which ends it.
        let (_wake, wakes) = std::os::unix::net::UnixStream::pair().unwrap();
        let (_said, orders) = std::sync::mpsc::channel();
        rig::serve(server, &Plan::disk(2), &false.into(), &0.into(), wakes.as_fd(), &orders);
    }
    let serving = Plan::disk(1).serve();
    let this = std::env::current_exe().unwrap();
    let size = serving.nbdsh(&format!(
        "h.connect_systemd_socket_activation([{this:?}, '--exact', '{NAME}'])\nprint(h.get_size())\n\
         h.pwrite(b'z' * 512, 512)\nh.flush()\nassert h.pread(1024, 0) == bytes(512) + b'z' * 512\n"
    ));
    // What a test program says at its beginning comes before it.
    assert_eq!(size.lines().last(), Some("2097152"));
}

#[test]
fn without_a_socket_that_was_passed_systemd_is_no_address() {
    let error = NbdServer::listen(&NbdAddress::Systemd, NbdOptions::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("LISTEN_FDS") && error.contains("systemd-socket-activate"), "{error}");
}
