//! Each command and each flag, from libnbd's shell: what is answered, and what the disk is asked for.

mod rig;

use nook_block_api::Op;
use rig::{Plan, Serving};

/// Defines `refused(errno, work)` and connects without libnbd's own checks.
const UNCHECKED: &str = "
def refused(expected, work):
    try:
        work()
    except nbd.Error as error:
        assert error.errnum == expected, error
        return
    assert False, 'it was not refused'
h.set_strict_mode(0)
h.connect_uri(uri)
";

fn unchecked(serving: &Serving, script: &str) {
    serving.nbdsh(&(UNCHECKED.to_owned() + script));
}

#[test]
fn reads_and_writes_are_answered_with_structured_and_with_simple_replies() {
    for structured in ["True", "False"] {
        let serving = Plan { seed: 7, ..Plan::disk(16) }.serve();
        serving.nbdsh(&format!(
            "h.set_request_structured_replies({structured})\nh.connect_uri(uri)\n\
             assert h.get_structured_replies_negotiated() == {structured}\n\
             data = os.urandom(3 << 20)\nh.pwrite(data, 1 << 20)\nassert h.pread(3 << 20, 1 << 20) == data\n\
             assert h.pread(512, (1 << 20) + 1024) == data[1024:1536]\n\
             assert h.pread(512, 0) == bytes(512)\nassert h.pread(512, 512) == b'\\1' * 512\n\
             h.pwrite(b'f' * 512, 0, nbd.CMD_FLAG_FUA)\nh.flush()\nh.shutdown()\n"
        ));
        let medium = serving.end();
        assert_eq!((medium.fua, medium.counts[&Op::Flush]), (1, 1));
        assert_eq!(medium.longest, 256, "long ones are cut at what the disk takes");
        assert!(medium.content == medium.durable);
    }
}

#[test]
fn payloads_far_above_the_announced_maximum_are_served_in_pieces() {
    let serving = Plan::disk(80).serve();
    unchecked(
        &serving,
        "data = os.urandom(64 << 20)\nh.pwrite(data, 4 << 20)\nassert h.pread(64 << 20, 4 << 20) == data\n\
         s = nbd.NBD()\ns.set_request_structured_replies(False)\ns.set_strict_mode(0)\ns.connect_uri(uri)\n\
         refused(errno.EINVAL, lambda: s.pread(64 << 20, 4 << 20))\n\
         assert s.pread(4 << 20, 4 << 20) == data[:4 << 20]\n",
    );
}

#[test]
fn long_zeroes_and_trims_go_to_the_disk_in_pieces_and_those_of_four_gibibytes_beyond_its_end_are_refused() {
    let mut plan = Plan::disk(0);
    // 64 MiB: one of 4 GiB, on which such a request would be done, is too slow here.
    plan.geometry.blocks = 1 << 17;
    let serving = plan.serve();
    unchecked(
        &serving,
        "for flags in (0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_FUA,\n\
         \x20             nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_FUA):\n\
         \x20   h.pwrite(b'a' * 4096, 8192)\n    h.zero(64 << 20, 0, flags)\n\
         \x20   assert h.pread(4096, 8192) == bytes(4096)\n\
         h.pwrite(b'a' * 4096, 8192)\nh.trim(64 << 20, 0)\n\
         refused(errno.ENOSPC, lambda: h.zero((1 << 32) - 512, 0))\n\
         refused(errno.EINVAL, lambda: h.trim((1 << 32) - 512, 0))\n",
    );
    let medium = serving.end();
    assert_eq!(medium.longest, 65536, "the disk is asked in pieces of 32 MiB");
    assert_eq!(medium.counts[&Op::WriteZeroes], 12);
}

#[test]
fn what_was_trimmed_reads_as_zeroes_and_odd_ends_are_left_alone() {
    let serving = Plan::disk(1).serve();
    unchecked(
        &serving,
        "h.pwrite(b'a' * 4096, 4096)\nh.trim(1000, 4096 + 100)\n\
         assert h.pread(4096, 4096) == b'a' * 512 + bytes(512) + b'a' * 3072\n\
         h.trim(100, 4096 + 3000)\nh.trim(511, 4096 + 2049)\nh.trim(1, 1 << 19)\nh.trim(0, 5)\n\
         h.trim(1024, 4096 + 2048, nbd.CMD_FLAG_FUA)\n\
         assert h.pread(4096, 4096) == b'a' * 512 + bytes(512) + b'a' * 1024 + bytes(1024) + b'a' * 1024\n",
    );
    let medium = serving.end();
    assert_eq!(medium.counts[&Op::WriteZeroes], 2, "a trim of no whole block is answered without the disk");
    assert_eq!(medium.fua, 1);
}

#[test]
fn requests_that_cannot_be_made_are_refused_with_the_protocols_errors() {
    let serving = Plan::disk(1).serve();
    unchecked(
        &serving,
        "size = h.get_size()\n\
         refused(errno.EINVAL, lambda: h.pread(512, size))\n\
         refused(errno.EINVAL, lambda: h.pread(1024, size - 512))\n\
         refused(errno.EINVAL, lambda: h.pread(512, (1 << 63) - 512))\n\
         refused(errno.ENOSPC, lambda: h.pwrite(bytes(1024), size - 512))\n\
         refused(errno.ENOSPC, lambda: h.zero(1024, size - 512))\n\
         refused(errno.EINVAL, lambda: h.trim(1024, size - 512))\n\
         refused(errno.EINVAL, lambda: h.pread(100, 0))\n\
         refused(errno.EINVAL, lambda: h.pread(512, 100))\n\
         refused(errno.EINVAL, lambda: h.pwrite(bytes(513), 0))\n\
         refused(errno.EINVAL, lambda: h.pwrite(bytes(512), 1))\n\
         refused(errno.EINVAL, lambda: h.zero(512, 1))\n\
         refused(errno.EINVAL, lambda: h.pread(0, 0))\n\
         refused(errno.EINVAL, lambda: h.cache(512, 0))\n\
         refused(errno.EINVAL, lambda: h.pread_structured(512, 0, lambda *_: 0, nbd.CMD_FLAG_DF))\n\
         refused(errno.EINVAL, lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_NO_HOLE))\n\
         assert h.pread(512, 512) == b'\\1' * 512\n",
    );
    let medium = serving.end();
    assert_eq!(medium.counts, [(Op::Read, 1)].into(), "nothing else reached the disk");
}

#[test]
fn a_read_only_disk_is_announced_and_kept_so() {
    for by_disk in [true, false] {
        let mut plan = Plan::disk(1);
        plan.geometry.read_only = by_disk;
        plan.options.read_only = !by_disk;
        let serving = plan.serve();
        unchecked(
            &serving,
            "assert h.is_read_only() and not h.can_trim() and not h.can_zero()\n\
             refused(errno.EPERM, lambda: h.pwrite(bytes(1 << 20), 0))\n\
             refused(errno.EPERM, lambda: h.zero(512, 0))\n\
             refused(errno.EPERM, lambda: h.trim(512, 0))\n\
             h.flush()\nassert h.pread(512, 512) == b'\\1' * 512\n",
        );
        let medium = serving.end();
        assert!(medium.counts.keys().all(|op| !op.writes()));
    }
}

#[test]
fn an_export_is_found_by_its_name_and_no_other() {
    let mut plan = Plan::disk(1);
    plan.options.name = "named".into();
    let serving = plan.serve();
    serving.nbdsh(
        "def connected(name, info):\n    h = nbd.NBD()\n    h.set_opt_mode(True)\n    h.set_export_name(name)\n\
         \x20   h.set_full_info(True)\n    h.connect_uri(uri)\n    h.set_export_name(name)\n\
         \x20   if info:\n        h.opt_info()\n    h.opt_go()\n    return h\n\
         for name in ('', 'named'):\n    for info in (False, True):\n        h = connected(name, info)\n\
         \x20       assert h.get_size() == 1 << 20 and h.get_canonical_export_name() == 'named'\n\
         for info in (False, True):\n    try:\n        connected('other', info)\n        assert False\n\
         \x20   except nbd.Error as error:\n        assert error.errnum == errno.ENOENT, error\n",
    );
}

#[test]
fn options_are_answered_one_after_the_other_until_one_begins() {
    let serving = Plan::disk(1).serve();
    serving.nbdsh(
        "h.set_opt_mode(True)\nh.add_meta_context('base:allocation')\nh.connect_uri(uri)\n\
         names = []\nh.opt_list(lambda name, description: names.append(name))\nassert names == [''], names\n\
         contexts = []\nh.opt_list_meta_context(lambda name: contexts.append(name))\nassert contexts == [], contexts\n\
         h.set_export_name('nothing')\n\
         try:\n    h.opt_info()\n    assert False\nexcept nbd.Error as error:\n    assert error.errnum == errno.ENOENT\n\
         h.set_export_name('')\nh.opt_go()\nassert not h.can_meta_context('base:allocation')\n\
         assert h.pread(512, 512) == b'\\1' * 512\n\
         a = nbd.NBD()\na.set_opt_mode(True)\na.connect_uri(uri)\na.opt_abort()\n",
    );
}

#[test]
fn tls_is_refused_with_what_to_do() {
    let serving = Plan::disk(1).serve();
    serving.nbdsh(
        "h.set_tls(nbd.TLS_ALLOW)\nh.connect_uri(uri)\nassert not h.get_tls_negotiated()\n\
         assert h.pread(512, 512) == b'\\1' * 512\n\
         r = nbd.NBD()\nr.set_tls(nbd.TLS_REQUIRE)\n\
         try:\n    r.connect_uri(uri)\n    assert False\nexcept nbd.Error as error:\n    print(error.string)\n",
    );
}

#[test]
fn a_flush_on_one_connection_covers_what_was_answered_on_another() {
    for seed in 0..20 {
        let serving = Plan { seed, ..Plan::disk(1) }.serve();
        let script = "a, b = nbd.NBD(), nbd.NBD()\na.connect_uri(uri)\nb.connect_uri(uri)\n\
                      assert a.can_multi_conn()\n\
                      for block in range(0, 64, 2):\n    a.pwrite(bytes([block + 1]) * 512, block * 512)\n\
                      \x20   b.pwrite(bytes([block + 2]) * 512, (block + 1) * 512)\nb.flush()\n\
                      a.pwrite(b'late' * 128, 64 * 512)\na.pwrite(b'fua.' * 128, 65 * 512, nbd.CMD_FLAG_FUA)\n";
        serving.nbdsh(script);
        let medium = serving.end();
        for block in 0..64 {
            let kept = &medium.durable[block * 512..][..512];
            assert!(kept.iter().all(|&byte| byte == block as u8 + 1), "block {block} was answered and flushed");
        }
        assert_eq!(&medium.durable[65 * 512..][..4], b"fua.");
        assert_eq!(&medium.durable[64 * 512..][..4], [64; 4], "nobody flushed this one");
    }
}

#[test]
fn what_was_written_on_one_connection_is_read_on_another() {
    let serving = Plan { seed: 9, ..Plan::disk(4) }.serve();
    serving.nbdsh(
        "handles = [nbd.NBD() for _ in range(8)]\nfor h in handles:\n    h.connect_uri(uri)\n\
         for i in range(200):\n    at = i * 8192 % (4 << 20)\n    data = os.urandom(8192)\n\
         \x20   handles[i % 8].pwrite(data, at)\n    assert handles[(i + 3) % 8].pread(8192, at) == data\n",
    );
}
