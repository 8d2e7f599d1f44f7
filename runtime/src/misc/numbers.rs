//! The limits of a misc driver, for docs/expects-misc.md. Tests only.

use nook_abi::MAILBOX_BYTES;
use nook_abi::misc::{MOST_OPEN, MOST_OPERATIONS};

use super::{BUSY_NS, MOST_ENDS};
use crate::Budgets;
use crate::numbers::{bytes, stand_in, time};

#[test]
fn numbers_of_a_misc_driver_stand_in_the_document() {
    stand_in(
        "expects-misc.md",
        &[
            ("operations", MOST_OPERATIONS.to_string(), "`BadArgument`"),
            ("input, and output", bytes(MAILBOX_BYTES as u64), "`BadArgument`; more input is never asked for"),
            ("operations that are open at a time", MOST_OPEN.to_string(), "others wait"),
            ("an operation is completed within", time(Budgets::default().transmit_ns), "`NotCompleted`"),
            ("after `Busy` it is asked for again, when", format!("{} have passed", time(BUSY_NS)), "-"),
            ("drivers that may end as they are asked for it", MOST_ENDS.to_string(), "it is given up"),
        ],
    );
}
