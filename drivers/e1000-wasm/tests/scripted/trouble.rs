//! A transmitter that is stuck, and the ways out: stop, remove, restart.

use e1000_regs::*;
use nook_sdk::{Irq, NetDriver, Status};

use crate::rig::{Rig, tally};

#[test]
fn a_stuck_transmitter_is_reset_and_what_it_had_is_returned_as_failed() {
    let mut rig = Rig::open();
    rig.provide_tx(10);
    rig.poll(256);
    rig.chip().send(4, 0);
    assert_eq!(rig.tick(), (false, true), "no progress at one look: perhaps an interrupt was lost");
    assert_eq!(rig.tx, tally(4, 0, 0));
    assert_eq!(rig.tick(), (false, false), "and so it was");
    assert_eq!(rig.tick(), (false, true));
    assert_eq!(rig.tick(), (true, true), "no progress at two looks");
    assert_eq!(rig.tx, tally(4, 6, 0));
    assert_eq!(rig.stats().tx_timeouts, 1);
    // It works again: it takes buffers, and frames leave.
    rig.provide_rx(256);
    rig.provide_tx(3);
    rig.poll(512);
    assert_eq!(rig.chip().send(3, 0), 3);
    assert!(rig.chip().interrupts());
    rig.irq();
    rig.chip().receive_frames(5);
    rig.poll(256);
    assert_eq!((rig.tx.done, rig.rx.done), (7, 5));
    assert!(rig.tick() == (false, false) && rig.tick() == (false, false));
}

#[test]
fn a_transmitter_that_was_reset_gets_as_much_time_as_before() {
    let mut rig = Rig::open();
    for resets in 1..4 {
        rig.provide_tx(10);
        rig.poll(256);
        rig.chip().set(GPTC, 100);
        assert_eq!((rig.tick().0, rig.tick().0), (false, true));
        rig.chip().set(STATUS, STATUS::LU | STATUS::FD | STATUS::SPEED.put(2));
        let stats = rig.stats();
        assert_eq!((stats.tx_timeouts, stats.tx_packets), (resets, 100 * resets));
    }
    assert_eq!(rig.tx, tally(0, 30, 0));
}

#[test]
fn a_transmitter_without_a_link_is_not_stuck_and_gives_its_frames_back() {
    let mut rig = Rig::open();
    rig.provide_tx(10);
    rig.poll(256);
    rig.chip().send(4, 0);
    let up = rig.get(STATUS);
    rig.chip().set(STATUS, 0);
    assert_eq!((rig.tick(), rig.tick()), ((false, true), (false, false)));
    assert_eq!((rig.tick(), rig.tick()), ((false, true), (true, true)), "the link does not come back soon");
    assert_eq!(rig.tx, tally(4, 6, 0));
    assert_eq!(rig.stats().tx_timeouts, 0);
    for _ in 0..5 {
        assert_eq!(rig.tick(), (false, false), "nothing waits any more");
    }
    // It works as soon as there is a link again, and says so at once.
    rig.chip().set(STATUS, up);
    rig.chip().causes |= ICR::LSC;
    assert!(rig.chip().interrupts());
    assert_eq!(rig.irq(), Irq::Handled);
    assert!(rig.host.take_calls().contains(&"net_link [1, 1000, 1]".to_owned()));
    rig.provide_tx(3);
    rig.poll(512);
    assert_eq!(rig.chip().send(3, 0), 3);
}

#[test]
fn frames_outlast_a_link_that_comes_back_soon() {
    let mut rig = Rig::open();
    rig.provide_tx(10);
    rig.poll(256);
    let up = rig.get(STATUS);
    rig.chip().set(STATUS, 0);
    assert!(!rig.tick().0);
    rig.chip().set(STATUS, up);
    assert_eq!(rig.chip().send(10, 0), 10);
    rig.irq();
    rig.poll(256);
    // The only work is to ask the partner what it offers.
    assert_eq!((rig.tick(), &rig.tx), ((true, false), &tally(10, 0, 0)));
    assert_eq!(rig.stats().tx_timeouts, 0);
}

#[test]
fn a_chip_that_cannot_be_started_again_takes_the_link_down() {
    let mut rig = Rig::open();
    rig.provide_tx(1);
    rig.poll(256);
    rig.chip().reset_ends = false;
    rig.tick();
    rig.host.advance(1_000_000_000);
    rig.driver.timer();
    rig.driver.work();
    rig.collect();
    assert_silent(&rig);
    assert_eq!((&rig.rx, &rig.tx), (&tally(0, 0, 256), &tally(0, 1, 0)));
    assert!(rig.host.calls().contains(&"net_link [0, 0, 0]".to_owned()));
    // The host can still stop it, and nobody's interrupt is taken for its.
    rig.chip().causes |= ICR::LSC;
    assert_eq!(rig.irq(), Irq::NotMine);
    assert_eq!(rig.driver.stop(), Ok(()));
}

/// No interrupt, no receiver, no transmitter, no DMA.
fn assert_silent(rig: &Rig) {
    let chip = rig.chip();
    assert_eq!((chip.mask, chip.get(RCTL), chip.get(TCTL)), (0, 0, 0));
    let calls = rig.host.calls();
    let last = |name: &str| calls.iter().rposition(|call| call.starts_with(name));
    assert!(last("dma_disable") > last("dma_enable"));
    assert!(last("irq_disable") > last("irq_enable"));
    assert!(calls.contains(&"timer_set [0]".to_owned()));
}

#[test]
fn stop_returns_every_packet_and_leaves_the_chip_silent() {
    for resets in [true, false] {
        let mut rig = Rig::open();
        rig.chip().resets = resets;
        rig.provide_tx(20);
        rig.poll(256);
        rig.chip().send(5, 0);
        rig.chip().receive_frames(7);
        rig.driver.stop().unwrap();
        rig.collect();
        assert_silent(&rig);
        assert_eq!((&rig.rx, &rig.tx), (&tally(7, 0, 249), &tally(5, 0, 15)));
        assert_eq!(rig.with_driver(), rig.waiting());
        assert!(rig.host.calls().contains(&"net_link [0, 0, 0]".to_owned()));
        assert_eq!(rig.driver.stop(), Ok(()), "it is stopped already");
    }
}

#[test]
fn what_was_stopped_can_be_opened_again() {
    let mut rig = Rig::open();
    assert_eq!(rig.driver.open(), Err(Status::Busy));
    rig.provide_tx(20);
    rig.poll(256);
    rig.chip().send(20, 0);
    rig.driver.stop().unwrap();
    rig.collect();
    rig.provide_rx(256);
    rig.driver.open().unwrap();
    rig.provide_tx(10);
    rig.poll(256);
    assert_eq!(rig.tx, tally(20, 0, 0), "old done bits are not taken for new ones");
    assert_eq!(rig.chip().send(10, 0), 10);
    assert_eq!(rig.chip().receive_frames(300), 256);
    rig.poll(256);
    assert_eq!((rig.tx.done, rig.rx.done), (30, 256));
}

#[test]
fn an_interface_that_is_down_moves_nothing() {
    let mut rig = Rig::probed(|_| ());
    rig.provide_rx(10);
    rig.provide_tx(10);
    rig.poll(256);
    rig.driver.timer();
    rig.driver.work();
    assert!(rig.host.calls().is_empty());
    assert_eq!(rig.waiting(), (10, 10));
}

#[test]
fn remove_leaves_the_chip_silent_even_if_nobody_stopped_it() {
    let mut rig = Rig::open();
    rig.provide_tx(20);
    rig.poll(256);
    let Rig { host, driver, .. } = rig;
    driver.remove();
    let calls = host.calls();
    let at = |name: &str| calls.iter().rposition(|call| call.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    assert!(at("dma_disable") < at("dma_free"), "the rings go after the DMA has ended");
    assert_eq!(host.returned(nook_sdk::abi::net::Queue::TxReturn).len(), 20);
}
