//! The limits of a disk's driver, for docs/expects-block.md. Tests only.

use nook_abi::Manifest;
use nook_abi::block::BlockKeys;

use super::{BUDGET, failures, requests};
use crate::Budgets;
use crate::numbers::{bytes, stand_in, time};

#[test]
fn numbers_of_a_disks_driver_stand_in_the_document() {
    let manifest = "abi = 1.0\nname = a\nversion = 1\nlicense = Apache-2.0\nclass = block\npci = 1234:5678\n\
                    registers = a\ndma_bytes = 4096\ndma_mask_bits = 64\n";
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    let BlockKeys { requests, transfer_bytes } = BlockKeys::of(&manifest).unwrap();
    stand_in(
        "expects-block.md",
        &[
            ("a call's `budget`: requests, and completions", BUDGET.to_string(), "they wait for the next call"),
            ("requests at a time, unless the manifest says otherwise", requests.to_string(), "-"),
            ("data of each, unless it does", bytes(transfer_bytes.into()), "it is not asked for"),
            ("a request is completed within (`block.request`)", time(Budgets::default().transmit_ns), "`RequestStuck`"),
            ("drivers that may be stuck with it", requests::ENDS_STUCK.to_string(), "it is answered with an error"),
            ("drivers that may end with it alone", requests::ENDS_ALONE.to_string(), "it is answered with an error"),
            (
                "failures in a row, of reads and of writes, or of one kind that changes the disk, in several places",
                failures::REQUESTS.to_string(),
                "`RequestsFail`",
            ),
            ("such a fault comes again after", time(failures::REST_NS), "-"),
        ],
    );
}
