//! Whatever happens in whatever order: no packet is lost, none is returned twice, and the driver never sleeps while
//! there is something to do.

use e1000_regs::{STATUS, rx, tx};
use nook_sdk::{Irq, NetDriver, Poll};
use proptest::prelude::*;

use crate::rig::Rig;

#[derive(Clone, Copy, Debug)]
enum Step {
    ProvideRx(u32),
    ProvideTx(u32),
    Receive(u32),
    /// A frame that the chip damages in one way or another: length and word 3.
    ReceiveBad(u32, u32),
    Send(u32),
    SendBad,
    Poll(u32),
    Irq,
    Second,
    Link(bool),
    Mtu(u32),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..300u32).prop_map(Step::ProvideRx),
        (1..300u32).prop_map(Step::ProvideTx),
        (1..300u32).prop_map(Step::Receive),
        (0..3000u32, 0..0x1_0000u32).prop_map(|(len, word3)| Step::ReceiveBad(len, word3)),
        (1..300u32).prop_map(Step::Send),
        Just(Step::SendBad),
        (1..300u32).prop_map(Step::Poll),
        Just(Step::Irq),
        Just(Step::Second),
        any::<bool>().prop_map(Step::Link),
        prop_oneof![Just(1500), Just(9000)].prop_map(Step::Mtu),
        Just(Step::Reopen),
    ]
}

/// What a host does until nothing is to be done: it answers the interrupt line and calls again when it is asked to.
fn settle(rig: &mut Rig) {
    for _ in 0..1000 {
        rig.deferred();
        let irq = rig.chip().interrupts() && rig.irq() == Irq::HandledPoll;
        if !irq && rig.poll(64) == Poll::Idle && !rig.chip().interrupts() {
            return;
        }
        while irq && rig.poll(64) == Poll::Again {}
    }
    panic!("it never ends");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_packet_is_lost_or_returned_twice(steps in prop::collection::vec(step(), 1..60)) {
        let mut rig = Rig::open();
        for step in steps {
            match step {
                Step::ProvideRx(count) => _ = rig.provide_rx(count),
                Step::ProvideTx(count) => _ = rig.provide_tx(count),
                Step::Receive(count) => _ = rig.chip().receive_frames(count),
                Step::ReceiveBad(len, word3) => _ = rig.chip().receive(len, word3),
                Step::Send(count) => _ = rig.chip().send(count, 0),
                Step::SendBad => _ = rig.chip().send(1, tx::status::LC),
                Step::Poll(budget) => _ = rig.poll(budget),
                Step::Irq => _ = rig.irq(),
                Step::Second => _ = rig.tick(),
                Step::Link(up) => {
                    let status = if up { STATUS::LU | STATUS::FD | STATUS::SPEED.put(2) } else { 0 };
                    rig.chip().set(STATUS, status);
                }
                Step::Mtu(mtu_bytes) => {
                    rig.driver.set_mtu(mtu_bytes).unwrap();
                    rig.collect();
                }
                Step::Reopen => {
                    rig.driver.stop().unwrap();
                    rig.collect();
                    prop_assert_eq!(rig.with_driver(), rig.waiting());
                    rig.driver.open().unwrap();
                }
            }
        }
        // The host gives what it has and the chip sends what it has, for as long as there is something.
        let sent = rig.tx.done + rig.tx.failed + rig.tx.unused;
        let expected = sent + rig.with_driver().1 as u32;
        for _ in 0..4 {
            rig.chip().send(300, 0);
            settle(&mut rig);
            rig.provide_rx(300);
        }
        prop_assert_eq!(rig.with_driver().1, 0, "every frame was sent");
        prop_assert_eq!(rig.tx.done + rig.tx.failed + rig.tx.unused, expected);
        // Everything that the chip can receive reaches the host.
        // A frame that has no end yet ends.
        rig.chip().receive(60, rx::status::EOP);
        settle(&mut rig);
        let before = rig.rx.done + rig.rx.failed;
        let received = rig.chip().receive_frames(300);
        settle(&mut rig);
        prop_assert_eq!(rig.rx.done + rig.rx.failed, before + received);
        rig.driver.stop().unwrap();
        rig.collect();
        prop_assert_eq!(rig.with_driver(), rig.waiting());
    }
}
