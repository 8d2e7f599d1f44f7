//! Holds `docs/abi.md` to the code: the page is made anew from the tables, the types and their comments, and must be
//! what the file says. `NOOK_BLESS=1 cargo test -p nook-abi --test reference_page` writes the file instead.

use std::{env, fs};

mod page;
mod source;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/abi.md");

#[test]
fn the_reference_page_says_what_the_code_says() {
    let made = page::page();
    if env::var_os("NOOK_BLESS").is_some_and(|value| value == "1") {
        return fs::write(FILE, made).unwrap();
    }
    let found = fs::read_to_string(FILE).unwrap_or_default();
    let differs = |(made, found): &(&str, &str)| made != found;
    let number = made.lines().zip(found.lines()).position(|pair| differs(&pair));
    let number = number.unwrap_or_else(|| made.lines().count().min(found.lines().count()));
    assert!(
        made == found,
        "docs/abi.md, line {}: {:?} should be {:?}.\nIf the ABI was meant to change, write the page again: \
         NOOK_BLESS=1 cargo test -p nook-abi --test reference_page",
        number + 1,
        found.lines().nth(number).unwrap_or_default(),
        made.lines().nth(number).unwrap_or_default(),
    );
}
