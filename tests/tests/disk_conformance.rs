//! One suite for every driver of a disk, every device and every isolation level: whatever runs the driver, and on what,
//! these hold. `NOOK_TEST_DISK_DRIVER` names another driver than ours.

use std::collections::HashMap;

use nook_block_api::{Op, Outcome};
use nook_tests::{DiskNook, Drive, Isolation, Served, disk_nook, mpk_only, side_by_side, until_answered};
use nvme_model::{Behaviour, Disk, ModelConfig};

const BLOCK: usize = 512;
const BLOCKS: u64 = 4096;

/// On what the driver runs.
#[derive(Clone, Copy, Debug)]
enum Device {
    Model(ModelConfig),
    Qemu,
    /// QEMU's virtio disk, with its options.
    Virtio(&'static str),
}

/// Runs a case on the embedded disk in several tempers, at every level, and on QEMU's, which is slow to start, at
/// those that differ most.
fn everywhere(case: impl Fn(&mut DiskNook) + Sync) {
    let model = |seed, behaviour| Device::Model(ModelConfig { seed, behaviour });
    let models = [
        model(1, Behaviour::calm()),
        model(2, Behaviour::adversarial()),
        model(3, Behaviour { messages: false, ..Behaviour::adversarial() }),
    ];
    let on_models = models.into_iter().flat_map(|it| Isolation::all().iter().map(move |&level| (it, level)));
    const MODERN: &str = ",disable-legacy=on,iommu_platform=on,vectors=0";
    let on_qemu = [Device::Qemu, Device::Virtio(""), Device::Virtio(MODERN)]
        .into_iter()
        .flat_map(|device| [Isolation::Native, Isolation::SfiTxn, Isolation::Process].map(|level| (device, level)));
    let on_qemu = on_qemu.chain([(Device::Virtio(",vectors=1"), Isolation::SfiTxn)]).filter(|_| !mpk_only());
    side_by_side(on_models.chain(on_qemu), |(device, level)| {
        println!("{device:?} {level:?}");
        match device {
            Device::Model(config) => {
                let disk = Disk::in_memory(BLOCKS, BLOCK as u32).unwrap().with_cache(1 << 20);
                run(disk_nook(Drive::Model(config, &disk), level), &case);
            }
            Device::Qemu | Device::Virtio(_) => {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("disk.img");
                std::fs::File::create(&path).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
                let drive = match device {
                    Device::Virtio(options) => Drive::Virtio(&path, options),
                    _ => Drive::Qemu(&path, ""),
                };
                run(disk_nook(drive, level), &case);
            }
        }
    });
}

fn run(mut nook: DiskNook, case: impl Fn(&mut DiskNook)) {
    // A driver that lies would be found.
    nook.verify(1 << 20);
    nook.start().unwrap_or_else(|error| panic!("{error}"));
    case(&mut nook);
    nook.stop().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((nook.host().dma_regions(), nook.requests_with_driver()), (0, 0));
}

/// Content that says where it was written, and when.
fn content(first: u64, blocks: u32, write: u8) -> Vec<u8> {
    let block = |block: u64| (0..BLOCK).map(move |at| (block as u8) ^ ((block >> 8) as u8) ^ write ^ (at as u8));
    (first..first + u64::from(blocks)).flat_map(block).collect()
}

fn write(nook: &mut DiskNook, first: u64, blocks: u32, write: u8) -> u64 {
    nook.backend_mut().ask(Op::Write, first, blocks, false, content(first, blocks, write))
}

fn read(nook: &mut DiskNook, first: u64, blocks: u32) -> u64 {
    nook.backend_mut().ask(Op::Read, first, blocks, false, Vec::new())
}

/// Waits for everything, and expects that it was done.
fn done(nook: &mut DiskNook) -> HashMap<u64, Vec<u8>> {
    let answers = until_answered(nook);
    answers
        .into_iter()
        .map(|(id, (outcome, data))| {
            assert_eq!(outcome, Outcome::Done, "request {id}: {:?}", nook.block_counters());
            (id, data)
        })
        .collect()
}

#[test]
fn what_is_written_is_read_at_both_ends_and_at_each_length() {
    everywhere(|nook| {
        let most = nook.backend().geometry.max_blocks;
        let places: Vec<(u64, u32)> = [1, 2, 7, 8, 9, 16, 17, most - 1, most]
            .into_iter()
            .scan(0, |at, blocks| {
                let first = *at;
                *at += u64::from(blocks);
                Some((first, blocks))
            })
            .chain([(BLOCKS - 1, 1), (BLOCKS - 1 - u64::from(most), most)])
            .collect();
        places.iter().for_each(|&(first, blocks)| _ = write(nook, first, blocks, 1));
        done(nook);
        let ids: Vec<u64> = places.iter().map(|&(first, blocks)| read(nook, first, blocks)).collect();
        let answers = done(nook);
        for (id, (first, blocks)) in ids.into_iter().zip(places) {
            assert!(answers[&id] == content(first, blocks, 1), "{blocks} blocks at {first}");
        }
    });
}

#[test]
fn more_requests_than_a_driver_takes_are_all_done_once() {
    everywhere(|nook| {
        let ids: Vec<u64> = (0..600).map(|block| write(nook, block, 1, 2)).collect();
        assert_eq!(done(nook).len(), ids.len());
        let ids: Vec<u64> = (0..600).rev().map(|block| read(nook, block, 1)).collect();
        let answers = done(nook);
        for (id, block) in ids.into_iter().zip((0..600).rev()) {
            assert!(answers[&id] == content(block, 1, 2), "block {block}");
        }
        assert_eq!(nook.block_counters().compared_blocks, 600);
    });
}

#[test]
fn writes_of_the_same_blocks_take_effect_in_their_order() {
    everywhere(|nook| {
        for round in 0..40 {
            write(nook, 10 + u64::from(round % 3), 4, round);
        }
        done(nook);
        let id = read(nook, 10, 6);
        let expected =
            [content(10, 1, 39), content(11, 1, 39), content(12, 2, 39), content(14, 1, 38), content(15, 1, 38)];
        assert!(done(nook)[&id] == expected.concat());
    });
}

#[test]
fn zeroes_and_discards_change_their_blocks_and_no_others() {
    everywhere(|nook| {
        write(nook, 100, 64, 3);
        done(nook);
        assert!(nook.backend().geometry.write_zeroes && nook.backend().geometry.discard);
        nook.backend_mut().ask(Op::WriteZeroes, 110, 10, false, Vec::new());
        nook.backend_mut().ask(Op::Discard, 130, 10, true, Vec::new());
        done(nook);
        let ids = [(100, 10), (110, 10), (120, 10), (140, 24)]
            .map(|(first, blocks)| (read(nook, first, blocks), first, blocks));
        let answers = done(nook);
        for (id, first, blocks) in ids {
            let zeros = first == 110;
            let expected = if zeros { vec![0; 10 * BLOCK] } else { content(first, blocks, 3) };
            assert!(answers[&id] == expected, "{blocks} blocks at {first}");
        }
    });
}

#[test]
fn a_flush_and_a_durable_write_are_done() {
    everywhere(|nook| {
        for block in 0..20 {
            nook.backend_mut().ask(Op::Write, block, 1, block % 2 == 0, content(block, 1, 4));
            nook.backend_mut().ask(Op::Flush, 0, 0, false, Vec::new());
        }
        done(nook);
        assert_eq!((nook.block_counters().writes, nook.block_counters().flushes), (20, 20));
    });
}

#[test]
fn what_the_disk_does_not_have_is_refused_and_the_driver_goes_on() {
    everywhere(|nook| {
        let most = nook.backend().geometry.max_blocks;
        let wrong = [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 1), (0, 0), (0, most + 1)];
        wrong.iter().for_each(|&(first, blocks)| _ = read(nook, first, blocks));
        let right = read(nook, BLOCKS - 1, 1);
        let answers = until_answered(nook);
        for (id, (outcome, _)) in answers {
            assert_eq!(outcome == Outcome::Done, id == right);
        }
        assert_eq!((nook.block_counters().refused, nook.block_counters().errors), (5, 5));
    });
}

#[test]
fn a_driver_that_is_ended_in_the_middle_of_load_loses_nothing() {
    everywhere(|nook| {
        for round in 0..4 {
            (0..100).for_each(|block| _ = write(nook, block * 3, 3, round));
            (0..u32::from(round) * 2).for_each(|_| nook.nook().work());
            nook.restart().unwrap();
            done(nook);
            let ids: Vec<u64> = (0..3).map(|at| read(nook, at * 100, 100)).collect();
            let answers = done(nook);
            for (id, at) in ids.into_iter().zip(0..) {
                assert!(answers[&id] == content(at * 100, 100, round), "round {round}");
            }
        }
        assert_eq!((nook.block_counters().errors, nook.block_counters().differing), (0, 0));
    });
}

#[test]
fn a_driver_that_was_stopped_gives_everything_back_and_starts_again() {
    everywhere(|nook| {
        for round in 0..3 {
            write(nook, 5, 8, round);
            done(nook);
            nook.stop().unwrap();
            assert_eq!((nook.host().dma_regions(), nook.requests_with_driver()), (0, 0));
            nook.start().unwrap();
            let id = read(nook, 5, 8);
            assert!(done(nook)[&id] == content(5, 8, round));
        }
    });
}
