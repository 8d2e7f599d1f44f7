//! Holds what is made from the code to the code: `docs/abi.md` and the C header `driver-sdk/c/include/nook/abi.h`. Both
//! are generated from the tables, the types and their comments, and must be what the files say.
//! `NOOK_BLESS=1 cargo test -p nook-abi --test reference_page` writes the files instead.

use std::{env, fs};

mod header;
mod kept;
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

/// What 1.0 had stays as it was, and what it did not have says which version brought it.
#[test]
fn a_later_version_has_all_that_an_earlier_one_had() {
    let path = format!("{ROOT}/abi/tests/reference_page/kept-1.0.txt");
    let now = kept::lines();
    if !fs::exists(&path).unwrap() && env::var_os("NOOK_BLESS").is_some_and(|value| value == "1") {
        return fs::write(&path, now.join("\n") + "\n").unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = kept.lines().collect();
    for line in &kept {
        assert!(now.iter().any(|it| it == line), "1.0 had this, and it is gone or has changed: {line}");
    }
    for line in now.iter().filter(|line| line.ends_with(" since 1.0")) {
        assert!(kept.contains(&&**line), "1.0 did not have this: {line}");
    }
    assert!(kept.len() > 250, "{}", kept.len());
}

/// What the guide to drivers in C says that the runtime has, it has, letter by letter.
#[test]
fn the_c_guide_has_prototypes_of_the_headers() {
    let read = |file: &str| fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
    let header = read("driver-sdk/c/include/nook/runtime.h").split_whitespace().collect::<Vec<_>>().join(" ");
    let guide = read("docs/drivers-in-c.md");
    let types = ["int32_t ", "uint32_t ", "uint64_t ", "void ", "bool "];
    let is_prototype = |code: &&str| types.iter().any(|it| code.starts_with(it)) && code.ends_with(')');
    let prototypes: Vec<&str> = guide.split('`').filter(is_prototype).collect();
    assert!(prototypes.len() > 10, "{prototypes:?}");
    for prototype in prototypes {
        assert!(header.contains(prototype), "runtime.h has no {prototype}");
    }
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
