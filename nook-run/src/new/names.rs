//! What a driver can be called.

use anyhow::{Result, bail};

/// What crates and driver files cannot be called, or not without confusion.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "nook-regs",
    "nook-sdk",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];
const MOST_NAME_BYTES: usize = 32;

/// Refuses a name that a crate, a file or a manifest cannot have.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || name.len() > MOST_NAME_BYTES || !name.bytes().all(is_part) || name.ends_with('-') {
        bail!(
            "`{name}` is no name for a driver: take 1 to {MOST_NAME_BYTES} lower-case letters, digits and `-`, beginning \
             with a letter and not ending with `-`"
        );
    }
    if TAKEN.contains(&name) {
        bail!("`{name}` has a meaning in Rust, or in nook: choose another name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_crates_files_and_manifests_can_have() {
        for name in ["a", "my-edu", "rtl8139"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(MOST_NAME_BYTES + 1);
        for name in [
            "", "8139", "-a", "a-", "My", "a_b", "a/b", "..", "a b", "é", "test", "nook-sdk", "yield", "try", "gen",
            &long,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
