//! The limits of a serial line's driver, for docs/expects-serial.md. Tests only.

use super::serve::MOST_FIFO_BYTES;
use super::{CALL_BYTES, RECEIVE_BYTES, SEND_BYTES};
use crate::Budgets;
use crate::numbers::{bytes, stand_in, time};

#[test]
fn numbers_of_a_serial_lines_driver_stand_in_the_document() {
    let most = format!("{CALL_BYTES} bytes at most");
    stand_in(
        "expects-serial.md",
        &[
            ("a call's `budget`: bytes that it hands over", most, "`BeyondBudget`"),
            ("what the chip holds each way (`fifo_bytes`)", bytes(MOST_FIFO_BYTES.into()), "`BadArgument`"),
            (
                "bytes wait to be sent, and none is taken, beside the time that two FIFOs take",
                time(Budgets::default().transmit_ns),
                "`NotSent`",
            ),
            ("bytes that wait at the host to be sent", bytes(SEND_BYTES as u64), "the other side waits"),
            (
                "bytes received that nobody reads",
                bytes(RECEIVE_BYTES as u64),
                "the budget gets smaller, down to 0; with flow control RTS goes down when three quarters are used",
            ),
        ],
    );
}
