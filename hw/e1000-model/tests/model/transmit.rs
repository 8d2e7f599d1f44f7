use e1000_regs::tx::{self, Context, command};
use e1000_regs::{ICR, IMC, TADV, TCTL, TDH, TIDV, TXDCTL};

use crate::rig::{IOVA, RING, Rig, TX_BUFFERS, frame};

#[test]
fn frames_leave_in_order_over_many_turns_of_the_ring() {
    for mut rig in [Rig::calm(), Rig::adversarial(1), Rig::adversarial(2)] {
        let total = 100 * RING;
        let (mut next, mut seen) = (0, Vec::new());
        while seen.len() < total as usize {
            while next < total && rig.in_flight() < RING - 1 {
                rig.send(&frame(60 + next as usize % 1400, next));
                next += 1;
            }
            rig.service();
            rig.reap();
            seen.extend(rig.cable.sent());
        }
        for (number, sent) in seen.iter().enumerate() {
            assert_eq!(*sent, frame(60 + number % 1400, number as u32), "frame {number}");
        }
        rig.settle();
        rig.reap();
        assert_eq!(rig.in_flight(), 0);
    }
}

#[test]
fn nothing_is_sent_by_the_doorbell_itself_and_everything_in_bounded_time() {
    let mut rig = Rig::adversarial(3);
    let mut late = 0;
    for number in 0..50 {
        let slot = rig.send(&frame(60, number));
        assert!(!rig.is_done(slot));
        let calls = (1..100).find(|_| {
            rig.service();
            rig.is_done(slot)
        });
        late = late.max(calls.expect("a descriptor is never written back"));
        rig.reap();
    }
    assert!(late > 1, "an adversarial device is late");
}

#[test]
fn due_says_when_the_rest_is_done() {
    let mut rig = Rig::adversarial(11);
    for number in 0..50 {
        let slot = rig.send(&frame(60, number));
        rig.service_when_due();
        assert!(rig.is_done(slot));
        rig.reap();
    }
}

#[test]
fn a_packet_in_several_buffers_leaves_as_one_frame() {
    let mut rig = Rig::calm();
    let whole = frame(700, 5);
    let parts = [(0, 14), (14, 300), (314, 386)];
    rig.fill_buffer(&whole);
    for (at, len) in parts {
        let last = if at + len == 700 { command::EOP | command::RS | command::IFCS } else { 0 };
        rig.put(tx::legacy(IOVA + u64::from(TX_BUFFERS) + at, len as u16, last));
    }
    rig.doorbell();
    rig.settle();
    assert_eq!(rig.cable.sent(), [whole]);
    assert!(!rig.is_done(0) && !rig.is_done(1) && rig.is_done(2), "done only where it was asked for");
}

#[test]
fn short_packets_are_padded_if_they_shall_be_and_lost_otherwise() {
    let mut rig = Rig::calm();
    rig.send(&frame(200, 0));
    rig.settle();
    rig.cable.sent();
    let mut padded = frame(20, 1);
    rig.send(&padded);
    rig.settle();
    padded.resize(60, 0);
    assert_eq!(rig.cable.sent(), [padded]);
    rig.write(TCTL, TCTL::EN);
    let slot = rig.send(&frame(20, 2));
    rig.settle();
    assert!(rig.is_done(slot));
    assert_eq!(rig.cable.sent(), Vec::<Vec<u8>>::new(), "no receiver takes a fragment");
}

#[test]
fn without_its_own_check_sequence_a_frame_needs_one() {
    let mut rig = Rig::calm();
    let whole = frame(100, 1);
    let mut checked = whole.clone();
    checked.extend(crc32(&whole).to_le_bytes());
    rig.send_with(&whole, 0);
    rig.send_with(&checked, 0);
    rig.settle();
    assert_eq!(rig.cable.sent(), [whole], "the one with a wrong check sequence is lost");
}

/// Bit by bit, to have another than the model's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_checksum_is_inserted_where_the_descriptor_says() {
    let mut rig = Rig::calm();
    let mut packet = frame(101, 9);
    packet[40..42].copy_from_slice(&[0x12, 0x34]);
    rig.fill_buffer(&packet);
    let wanted = command::EOP | command::RS | command::IFCS;
    rig.put(tx::legacy_checksum(IOVA + u64::from(TX_BUFFERS), 101, wanted, 14, 40));
    rig.doorbell();
    rig.settle();
    let mut sum: u32 =
        packet[14..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| (*b).into())).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    packet[40..42].copy_from_slice(&(!sum as u16).to_be_bytes());
    assert_eq!(rig.cable.sent(), [packet]);
}

#[test]
fn descriptors_of_other_kinds_are_passed_and_written_back() {
    let mut rig = Rig::calm();
    rig.fill_buffer(&frame(90, 1));
    rig.put(tx::data(IOVA + u64::from(TX_BUFFERS), 70, command::IFCS, 0));
    // TCP is the bit that ends a packet elsewhere.
    let context = Context { command: command::RS | command::TCP, ..Default::default() };
    rig.put(context.to_words());
    rig.put(tx::data(IOVA + u64::from(TX_BUFFERS) + 70, 20, command::EOP | command::RS | command::IFCS, 0));
    let reserved = command::DEXT | command::DTYP.put(9) | command::RS;
    rig.put([0, 0, reserved, 0]);
    rig.doorbell();
    rig.settle();
    assert!((1..4).all(|slot| rig.is_done(slot)));
    assert_eq!(rig.cable.sent(), [frame(90, 1)]);
}

/// Returns a context for TCP over IPv4 without options, of packets that are cut.
fn to_cut(payload_bytes: u32, mss: u16) -> [u32; 4] {
    let command = command::TSE | command::IP | command::TCP;
    let [ip_start, l4_start, header_bytes] = [14, 34, 54];
    let (ip_put, l4_put) = (ip_start + 10, l4_start + 16);
    Context { ip_start, ip_put, l4_start, l4_put, payload_bytes, header_bytes, mss, command, ..Default::default() }
        .to_words()
}

#[test]
fn a_packet_of_descriptors_of_several_kinds_is_not_sent_and_the_next_one_is() {
    let end = command::EOP | command::IFCS;
    let legacy = |len, command| tx::legacy(IOVA, len, command);
    let cut = |len, command| tx::data(IOVA, len, command | command::TSE, 0);
    let whole = |len, command| tx::data(IOVA, len, command, 0);
    let mut rig = Rig::calm();
    for [first, second] in [
        // More than a frame has room for, and less.
        [cut(20_000, 0), legacy(1, end)],
        [cut(200, 0), legacy(1, end)],
        [legacy(200, 0), cut(1, end)],
        [whole(200, 0), legacy(1, end)],
        [legacy(200, 0), whole(1, end)],
        [whole(200, 0), cut(1, end)],
    ] {
        // It would be right for a packet of one kind.
        rig.put(to_cut(147, 1000));
        rig.put(first);
        rig.put(second);
        rig.send(&frame(80, 3));
        rig.settle();
        assert_eq!(rig.cable.sent(), [frame(80, 3)]);
        rig.forget();
    }
}

#[test]
fn a_packet_of_more_than_can_be_cut_is_not_sent_and_many_segments_leave_in_steps() {
    let end = command::EOP | command::RS | command::IFCS | command::TSE;
    let mut rig = Rig::calm();
    for (payload_bytes, mss) in [((1 << 20) - 55, 1), (1 << 17, 1460), (2049, 1)] {
        rig.put(to_cut(payload_bytes, mss));
        rig.put(tx::data(IOVA, payload_bytes + 54, end, 0));
    }
    rig.send(&frame(80, 3));
    rig.service();
    assert_eq!(rig.cable.sent(), [frame(80, 3)]);
    let mut rig = Rig::calm();
    rig.put(to_cut(2048, 1));
    for _ in 0..5 {
        rig.put(tx::data(IOVA, 2048 + 54, end, 0));
    }
    rig.doorbell();
    let steps = std::array::from_fn(|_| {
        rig.service();
        rig.cable.sent().len()
    });
    assert_eq!(steps, [4096, 4096, 2048, 0]);
}

#[test]
fn a_packet_that_is_too_long_is_not_sent_and_the_next_one_is() {
    let mut rig = Rig::calm();
    for _ in 0..2 {
        rig.put(tx::legacy(IOVA, 16_000, 0));
    }
    rig.put(tx::legacy(IOVA, 100, command::EOP | command::IFCS));
    rig.send(&frame(80, 3));
    rig.settle();
    assert_eq!(rig.cable.sent(), [frame(80, 3)]);
}

#[test]
fn transmission_stops_where_it_is_when_it_is_turned_off() {
    let mut rig = Rig::calm();
    rig.write(TCTL, TCTL::PSP);
    rig.send(&frame(80, 3));
    rig.settle();
    assert_eq!((rig.read(TDH), rig.cable.sent().len()), (0, 0));
    rig.write(TCTL, TCTL::PSP | TCTL::EN);
    rig.settle();
    assert_eq!((rig.read(TDH), rig.cable.sent().len()), (1, 1));
}

#[test]
fn causes_tell_written_back_empty_and_low() {
    let mut rig = Rig::calm();
    rig.write(IMC, !0);
    rig.write(TXDCTL, TXDCTL::LWTHRESH.put(1));
    for number in 0..7 {
        rig.send(&frame(60, number));
    }
    rig.service();
    assert_eq!(rig.read(ICR), ICR::TXDW | ICR::TXQE, "there were never 8 descriptors");
    rig.reap();
    for number in 0..10 {
        rig.send(&frame(60, number));
    }
    rig.service();
    assert_eq!(rig.read(ICR), ICR::TXDW | ICR::TXQE | ICR::TXD_LOW, "it passed 8 descriptors");
}

#[test]
fn an_interrupt_that_is_delayed_comes_when_the_timer_runs_out() {
    let mut rig = Rig::calm();
    rig.write(TIDV, 100);
    rig.write(TADV, 150);
    // The second one starts the 100 again, and the 150 end it.
    rig.send_with(&frame(60, 1), command::IFCS | command::IDE);
    rig.service_after(1000);
    rig.send_with(&frame(60, 2), command::IFCS | command::IDE);
    rig.service_after(90_000);
    rig.read(ICR);
    rig.service_after(150 * 1024 - 90_000 - 1);
    assert_eq!(rig.read(ICR) & ICR::TXDW, 0);
    rig.service_after(1);
    assert_eq!(rig.read(ICR) & ICR::TXDW, ICR::TXDW);
}

#[test]
fn an_interrupt_that_is_not_delayed_tells_of_the_delayed_ones_too() {
    let mut rig = Rig::calm();
    rig.write(TIDV, 100);
    rig.send_with(&frame(60, 1), command::IFCS | command::IDE);
    rig.service();
    assert_eq!(rig.read(ICR) & ICR::TXDW, 0);
    rig.send(&frame(60, 2));
    rig.service();
    assert_eq!(rig.read(ICR) & ICR::TXDW, ICR::TXDW);
    rig.settle();
    assert_eq!(rig.read(ICR) & ICR::TXDW, 0, "the timer was stopped");
}
