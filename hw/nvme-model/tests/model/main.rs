//! The embedded disk, driven as a driver does.

mod rig;

use nook_bus::{IrqKind, PciDevice};
use nvme_model::{Behaviour, Disk};
use nvme_regs::command::{ALL_NAMESPACES, Command};
use nvme_regs::identify::{controller, namespace};
use nvme_regs::{CAP, CC, CSTS, INTMC, INTMS, SQTDBL, admin, nvm, status};
use rig::{Answer, BLOCK, BLOCKS, CALM, DATA, ENTRIES, IOVA, Rig, read, write};

const HARD: Behaviour = Behaviour::adversarial();

/// Runs a test with a calm device and with some that are not.
fn each(test: impl Fn(Rig)) {
    test(Rig::started(1, CALM));
    for seed in 0..20 {
        test(Rig::started(seed, Behaviour { transient_errors_ppm: 100_000, ..HARD }));
    }
}

#[test]
fn what_is_written_is_read_back_and_is_on_the_disk() {
    each(|mut rig| {
        let content: Vec<u8> = (0..16 * BLOCK).map(|at| (at / 7) as u8).collect();
        rig.put(DATA, &content);
        assert_eq!(rig.io(write(100, 16)), status::SUCCESS);
        let mut on_disk = vec![0; content.len()];
        rig.disk.read(100, &mut on_disk).unwrap();
        assert_eq!(on_disk, content);
        rig.put(DATA, &vec![0; content.len()]);
        assert_eq!(rig.io(read(100, 16)), status::SUCCESS);
        assert_eq!(rig.get(DATA, content.len()), content);
    });
}

#[test]
fn a_list_of_pages_may_begin_anywhere_and_lead_to_the_next() {
    let mut rig = Rig::started(1, CALM);
    let blocks = 128 * 1024 / BLOCK as u32;
    let content: Vec<u8> = (0..128 << 10).map(|at| (at >> 5) as u8).collect();
    // Pages in reverse, the first from its middle; the list begins two entries before its page ends.
    let page = |n: u64| DATA + (64 - n) * 4096;
    let first = page(0) + 2048;
    rig.put(first, &content[..2048]);
    let (list, next) = (0x8000u64, 0x9000u64);
    for (at, chunk) in content[2048..].chunks(4096).enumerate() {
        rig.put(page(at as u64 + 1), chunk);
        let place = if at == 0 { list + 4096 - 16 } else { next + (at as u64 - 1) * 8 };
        rig.put(place, &(IOVA + page(at as u64 + 1)).to_le_bytes());
    }
    rig.put(list + 4096 - 8, &(IOVA + next).to_le_bytes());
    let command = write(0, blocks).data(IOVA + first, IOVA + list + 4096 - 16);
    assert_eq!(rig.io(command), status::SUCCESS);
    let mut on_disk = vec![0; content.len()];
    rig.disk.read(0, &mut on_disk).unwrap();
    assert!(on_disk == content);
    assert_eq!(rig.io(write(0, blocks + 1)) & status::TYPE_AND_CODE, status::INVALID_FIELD, "more than MDTS");
}

#[test]
fn zeroes_and_discards_read_as_zeros() {
    each(|mut rig| {
        rig.disk.write(0, &[7; 64 * BLOCK], false).unwrap();
        let zeroes = Command::new(nvm::WRITE_ZEROES, 1).first_block(8).dword(12, nvm::BLOCKS.put(7));
        assert_eq!(rig.io(zeroes), status::SUCCESS);
        let ranges: Vec<u8> =
            [nvm::range(32, 4), nvm::range(40, 1)].concat().iter().flat_map(|w| w.to_le_bytes()).collect();
        rig.put(DATA, &ranges);
        let discard = Command::new(nvm::DATASET_MANAGEMENT, 1).data(IOVA + DATA, 0);
        assert_eq!(rig.io(discard.dword(10, nvm::RANGES.put(1)).dword(11, nvm::DISCARD)), status::SUCCESS);
        let mut now = vec![0; 64 * BLOCK];
        rig.disk.read(0, &mut now).unwrap();
        for (block, bytes) in now.chunks(BLOCK).enumerate() {
            let zero = matches!(block, 8..16 | 32..36 | 40);
            assert!(bytes.iter().all(|byte| *byte == if zero { 0 } else { 7 }), "block {block}");
        }
    });
}

#[test]
fn each_command_completes_once_in_an_order_of_the_device_s_through_many_laps() {
    let mut out_of_order = 0;
    for seed in 0..10 {
        let mut rig = Rig::started(seed, HARD);
        let (mut open, mut done) = (Vec::new(), 0);
        while done < 200 {
            if open.len() < ENTRIES as usize - 1 {
                open.push(rig.send(1, read(done, 1)));
                continue;
            }
            let Answer { cid, .. } = rig.answer(1);
            let at = open.iter().position(|sent| *sent == cid).expect("a command that was sent and is not complete");
            out_of_order += usize::from(at != 0);
            open.remove(at);
            done += 1;
        }
        while !open.is_empty() {
            let Answer { cid, .. } = rig.answer(1);
            open.retain(|sent| *sent != cid);
        }
        (0..100).for_each(|_| rig.work());
        assert_eq!(rig.taken(1), None);
    }
    assert!(out_of_order > 200, "{out_of_order} out of order");
}

#[test]
fn it_says_what_it_is() {
    let mut rig = Rig::started(7, CALM);
    let mut page = |nsid: u32, cns: u32| {
        let identify = Command::new(admin::IDENTIFY, nsid).data(IOVA + DATA, 0).dword(10, cns);
        assert_eq!(rig.admin(identify).status, status::SUCCESS);
        rig.get(DATA, 4096)
    };
    let about = page(0, admin::CNS_CONTROLLER);
    assert_eq!(&about[controller::SN as usize..][..12], b"nook-model-7");
    assert_eq!((about[controller::VWC as usize], about[controller::SQES as usize]), (1, 0x66));
    assert_eq!(page(0, admin::CNS_ACTIVE)[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(page(1, admin::CNS_ACTIVE)[..8], [0; 8]);
    let space = page(1, admin::CNS_NAMESPACE);
    assert_eq!(space[..8], BLOCKS.to_le_bytes());
    assert_eq!(space[namespace::LBAF as usize + 2], 9);
    assert!(page(2, admin::CNS_NAMESPACE).iter().all(|byte| *byte == 0), "there is no second one");
    assert_eq!(CAP::MQES.get(rig.read(CAP)), 1023);
}

#[test]
fn wrong_commands_are_refused_and_change_nothing() {
    let mut rig = Rig::started(1, CALM);
    for (command, expected) in [
        (read(BLOCKS, 1), status::LBA_OUT_OF_RANGE),
        (write(BLOCKS - 1, 2), status::LBA_OUT_OF_RANGE),
        (write(u64::MAX, 2), status::LBA_OUT_OF_RANGE),
        (Command::new(0x7f, 1), status::INVALID_OPCODE),
        (Command::new(nvm::FLUSH, 2), status::INVALID_NAMESPACE),
        (write(0, 16).data(IOVA + DATA, IOVA + DATA + 8), status::PRP_OFFSET),
        (write(0, 1).data(0x10, 0), status::DATA_TRANSFER_ERROR),
        (read(0, 1).data(IOVA + (4 << 20), 0), status::DATA_TRANSFER_ERROR),
    ] {
        assert_eq!(rig.io(command) & status::TYPE_AND_CODE, expected, "{command:?}");
    }
    assert_eq!(rig.model.dma_faults(), 2);
    let size = |id: u32, last: u32| admin::QUEUE_ID.put(id) | admin::QUEUE_SIZE.put(last);
    let cq = |dword10: u32, dword11: u32| {
        Command::new(admin::CREATE_CQ, 0).data(IOVA + DATA, 0).dword(10, dword10).dword(11, dword11)
    };
    for (command, expected) in [
        (cq(size(1, 7), admin::CONTIGUOUS), status::INVALID_QUEUE_ID),
        (cq(size(9, 7), admin::CONTIGUOUS), status::INVALID_QUEUE_ID),
        (Command::new(admin::DELETE_CQ, 0).dword(10, 1), status::QUEUE_IN_USE),
        (Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_QUEUES), status::SEQUENCE_ERROR),
        (Command::new(admin::IDENTIFY, 0).data(IOVA + DATA, 0).dword(10, 0x7f), status::INVALID_FIELD),
        (Command::new(0x55, 0), status::INVALID_OPCODE),
    ] {
        assert_eq!(rig.admin(command).status & status::TYPE_AND_CODE, expected, "{command:?}");
    }
}

#[test]
fn an_abort_may_end_in_each_way_and_the_command_completes_at_most_once() {
    let mut seen = [0; 3];
    for seed in 0..60 {
        let mut rig = Rig::started(seed, Behaviour { stuck_one_in: 1, ..HARD });
        rig.put(DATA, &[9; BLOCK]);
        let stuck = rig.send(1, write(5, 1));
        (0..20).for_each(|_| rig.work());
        assert_eq!(rig.taken(1), None, "it is stuck");
        let which = admin::ABORT_SQ.put(1) | admin::ABORT_CID.put(stuck.into());
        let answer = rig.admin(Command::new(admin::ABORT, 0).dword(10, which));
        (0..50).for_each(|_| rig.work());
        let mut block = [0; BLOCK];
        rig.disk.read(5, &mut block).unwrap();
        match rig.taken(1) {
            None => {
                assert_eq!(answer.result, admin::NOT_ABORTED);
                seen[0] += 1;
            }
            Some(ended) => {
                assert_eq!((ended.cid, ended.status), (stuck, status::ABORT_REQUESTED));
                seen[if block[0] == 9 { 1 } else { 2 }] += 1;
            }
        }
        assert_eq!(rig.taken(1), None);
    }
    assert!(seen.iter().all(|count| *count > 5), "goes on, aborted and written, aborted and not: {seen:?}");
}

#[test]
fn a_controller_that_failed_works_again_only_after_a_reset() {
    let mut rig = Rig::started(3, Behaviour { fatal_one_in: 1, ..HARD });
    rig.send(1, read(0, 1));
    rig.until("a failure", |rig| rig.read(CSTS) & CSTS::CFS != 0);
    rig.send(1, read(0, 1));
    (0..100).for_each(|_| rig.work());
    assert_eq!(rig.taken(1), None);
    rig.start();
    assert_eq!(rig.read(CSTS) & CSTS::CFS, 0);
}

#[test]
fn nothing_reaches_memory_once_a_reset_is_over() {
    let mut late = 0;
    for seed in 0..40 {
        let mut rig = Rig::started(seed, HARD);
        (0..ENTRIES - 1).for_each(|at| _ = rig.send(1, read(at.into(), 1)));
        rig.work();
        rig.write(CC, 0);
        rig.until("a reset", |rig| !rig.ready());
        // What was completed meanwhile is in the queue, and passes for new to those that do not clear it.
        late += usize::from(rig.taken(1).is_some());
        let before = rig.get(0, 0x4000);
        (0..200).for_each(|_| rig.work());
        assert!(rig.get(0, 0x4000) == before);
    }
    assert!(late > 5, "{late} with completions");
}

#[test]
fn a_power_cut_leaves_what_was_flushed_and_takes_the_controller_down() {
    for seed in 0..40 {
        let mut rig = Rig::started(seed, HARD);
        rig.put(DATA, &[1; BLOCK]);
        assert_eq!(rig.io(write(1, 1)), status::SUCCESS);
        assert_eq!(rig.io(Command::new(nvm::FLUSH, ALL_NAMESPACES)), status::SUCCESS);
        rig.put(DATA, &[2; BLOCK]);
        assert_eq!(rig.io(write(2, 1).dword(12, nvm::FUA)), status::SUCCESS);
        rig.put(DATA, &[3; BLOCK]);
        assert_eq!(rig.io(write(1, 1)), status::SUCCESS);
        rig.disk.cut_power(seed).unwrap();
        assert!(!rig.ready());
        let mut blocks = [0; 2 * BLOCK];
        rig.disk.read(1, &mut blocks).unwrap();
        assert!(matches!(blocks[0], 1 | 3) && blocks[BLOCK] == 2);
        rig.start();
        assert_eq!(rig.io(read(1, 1)), status::SUCCESS);
    }
}

#[test]
fn without_a_cache_or_with_it_off_each_write_is_durable() {
    for seed in 0..20 {
        let mut rig = Rig::started(seed, HARD);
        let off = Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_CACHE).dword(11, 0);
        assert_eq!(rig.admin(off).status, status::SUCCESS);
        rig.put(DATA, &[4; BLOCK]);
        assert_eq!(rig.io(write(9, 1)), status::SUCCESS);
        rig.disk.cut_power(seed).unwrap();
        let mut block = [0; BLOCK];
        rig.disk.read(9, &mut block).unwrap();
        assert_eq!(block[0], 4);
    }
    let mut rig = Rig::with_disk(1, CALM, Disk::in_memory(8, 512).unwrap());
    rig.start();
    let off = Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_CACHE);
    assert_eq!(rig.admin(off).status & status::TYPE_AND_CODE, status::INVALID_FIELD);
}

#[test]
fn a_shutdown_flushes_and_says_when_it_is_over() {
    let mut rig = Rig::started(1, HARD);
    rig.put(DATA, &[5; BLOCK]);
    assert_eq!(rig.io(write(3, 1)), status::SUCCESS);
    let on = rig.read(CC);
    rig.write(CC, on | CC::SHN.put(1));
    rig.until("the end", |rig| CSTS::SHST.get(rig.read(CSTS)) == 2);
    rig.disk.cut_power(1).unwrap();
    let mut block = [0; BLOCK];
    rig.disk.read(3, &mut block).unwrap();
    assert_eq!(block[0], 5);
}

#[test]
fn events_answer_requests_and_are_not_told_twice_before_their_log_was_read() {
    let mut rig = Rig::started(1, CALM);
    let enable = Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_EVENTS);
    assert_eq!(rig.admin(enable.dword(11, admin::EVENTS_NAMESPACES)).status, 0);
    let request = Command::new(admin::ASYNC_EVENT, 0);
    let first = rig.send(0, request);
    (0..10).for_each(|_| rig.work());
    assert_eq!(rig.taken(0), None);
    rig.disk.shrink(BLOCKS / 2);
    let told = rig.answer(0);
    assert_eq!((told.cid, admin::EVENT_TYPE.get(told.result)), (first, admin::EVENT_NOTICE));
    assert_eq!(admin::EVENT_LOG.get(told.result), admin::LOG_CHANGED);
    let second = rig.send(0, request);
    rig.disk.shrink(BLOCKS / 4);
    (0..10).for_each(|_| rig.work());
    assert_eq!(rig.taken(0), None, "its log was not read");
    let log = admin::LOG.put(admin::LOG_CHANGED) | admin::LOG_WORDS.put(1023);
    let log = Command::new(admin::GET_LOG_PAGE, 0).data(IOVA + DATA, 0).dword(10, log);
    let cid = rig.send(0, log);
    let answers = [rig.answer(0), rig.answer(0)];
    assert!(answers.iter().any(|answer| answer.cid == cid) && answers.iter().any(|answer| answer.cid == second));
    assert_eq!(rig.get(DATA, 8), [1, 0, 0, 0, 0, 0, 0, 0]);
    // A doorbell of no queue.
    let third = rig.send(0, request);
    rig.write(SQTDBL.get(5), 1);
    let told = rig.answer(0);
    assert_eq!((told.cid, admin::EVENT_TYPE.get(told.result)), (third, admin::EVENT_ERROR));
    (0..4).for_each(|_| _ = rig.send(0, request));
    let refused = rig.admin(request);
    assert_eq!(refused.status & status::TYPE_AND_CODE, status::EVENT_LIMIT);
}

#[test]
fn a_message_follows_each_batch_and_the_line_stays_up_until_all_is_taken() {
    let mut rig = Rig::started(1, CALM);
    (0..3).for_each(|_| rig.work());
    rig.irqs = 0;
    rig.send(1, read(0, 1));
    rig.work();
    assert_eq!(rig.irqs, 2, "vector 1");
    rig.irqs = 0;
    rig.work();
    assert_eq!(rig.irqs, 0, "once");

    let mut rig = Rig::new(1, CALM);
    assert_eq!(rig.model.irq_enable(1).unwrap(), (IrqKind::Intx, 1));
    rig.enable();
    rig.send(0, Command::new(0x55, 0));
    rig.work();
    assert_eq!(rig.irqs, 1);
    rig.irqs = 0;
    rig.work();
    assert_eq!(rig.irqs, 0, "the bus has masked it");
    rig.model.irq_unmask(0).unwrap();
    rig.work();
    assert_eq!(rig.irqs, 1, "nothing was taken");
    rig.irqs = 0;
    rig.write(INTMS, 1);
    rig.model.irq_unmask(0).unwrap();
    rig.work();
    assert_eq!(rig.irqs, 0, "the device has masked it");
    rig.write(INTMC, 1);
    rig.work();
    assert_eq!(rig.irqs, 1);
    assert!(rig.taken(0).is_some());
    rig.irqs = 0;
    rig.model.irq_unmask(0).unwrap();
    rig.work();
    assert_eq!(rig.irqs, 0);
}

#[test]
fn a_configuration_that_is_not_offered_fails_the_controller() {
    for bad in [CC::MPS.put(1), CC::CSS.put(1)] {
        let mut rig = Rig::started(1, CALM);
        rig.write(CC, 0);
        rig.until("a reset", |rig| !rig.ready());
        rig.write(CC, CC::EN | bad);
        (0..10).for_each(|_| rig.work());
        assert_eq!(rig.read(CSTS) & (CSTS::CFS | CSTS::RDY), CSTS::CFS);
    }
}

#[test]
fn a_seed_repeats_a_run() {
    let run = || {
        let mut rig = Rig::started(42, HARD);
        (0..50).map(|at| (rig.io(read(at, 1)), rig.now_ns)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
