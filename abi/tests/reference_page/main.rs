//! Holds what is made from the code to the code: `docs/abi.md` and the C header `driver-sdk/c/include/nook/abi.h`. Both
//! are generated from the tables, the types and their comments, and must be what the files say.
//! `NOOK_BLESS=1 cargo test -p nook-abi --test reference_page` writes the files instead.

use std::{env, fs};

mod header;
mod page;
mod shape;
mod source;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn the_reference_page_says_what_the_code_says() {
    holds("docs/abi.md", &page::page());
}

#[test]
fn the_c_header_says_what_the_code_says() {
    holds("driver-sdk/c/include/nook/abi.h", &header::header());
}

fn holds(file: &str, made: &str) {
    let path = format!("{ROOT}/{file}");
    if env::var_os("NOOK_BLESS").is_some_and(|value| value == "1") {
        return fs::write(path, made).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let differs = |(made, found): &(&str, &str)| made != found;
    let number = made.lines().zip(found.lines()).position(|pair| differs(&pair));
    let number = number.unwrap_or_else(|| made.lines().count().min(found.lines().count()));
    assert!(
        made == found,
        "{file}, line {}: {:?} should be {:?}.\nIf the ABI was meant to change, write it again: \
         NOOK_BLESS=1 cargo test -p nook-abi --test reference_page",
        number + 1,
        found.lines().nth(number).unwrap_or_default(),
        made.lines().nth(number).unwrap_or_default(),
    );
}
