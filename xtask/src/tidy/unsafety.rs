//! Unsafe code: every crate denies it, one module or item at a time allows it again and says why, and each block has a
//! reason that can be checked where it stands.

use super::{Violation, matches};

const RULE: &str = "unsafe";

/// Crates that drive or imitate a device, decide what follows a fault, or say what both sides agree on: safe code does.
const NONE_AT_ALL: &[&str] =
    &["abi", "build", "drivers/*", "hw/regs", "hw/*-regs", "hw/*-model", "tests/stray-dma", "xtask"];

/// A reason that sends the reader elsewhere, in lower case: code moves, and "above" is then another block.
const ELSEWHERE: &[&str] =
    &["as above", "see above", "as before", "as there", "as below", "see below", "same as", "likewise", "ditto"];

/// Checks one source file. `package` is the folder of the package that it belongs to.
pub fn check(path: &str, package: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |line: usize, advice: &str| {
        found.push(Violation { path: path.to_string(), line, rule: RULE, advice: advice.to_string() });
    };
    let root = ["src/lib.rs", "src/main.rs"].iter().any(|root| path == format!("{package}/{root}"));
    let attributes: Vec<_> = attributes(text).filter(|(_, attribute)| attribute.contains("unsafe_code")).collect();
    let says = |wanted: &str| attributes.iter().any(|(_, attribute)| attribute == wanted);
    if root && NONE_AT_ALL.iter().any(|pattern| matches(pattern, package)) {
        if !says("#![forbid(unsafe_code)]") {
            report(1, "add `#![forbid(unsafe_code)]`: this crate needs none");
        }
    } else if root && !says("#![forbid(unsafe_code)]") && !says("#![deny(unsafe_code)]") {
        report(
            1,
            "add `#![deny(unsafe_code)]`, and `#[expect(unsafe_code, reason = \"...\")]` to modules that need it",
        );
    }
    for (line, attribute) in &attributes {
        let expects = attribute.contains("expect(");
        if attribute.contains("allow(") || attribute.contains("warn(") {
            report(*line, "write `#[expect(unsafe_code, reason = \"...\")]`: it goes when the unsafe code does");
        } else if expects && !attribute.contains("reason = \"") {
            report(*line, "add `reason = \"...\"`: what this module does that safe code cannot");
        } else if expects && root && attribute.starts_with("#!") {
            report(*line, "a crate's root lets no unsafe code into the whole crate: move this to a module or an item");
        }
    }
    for (line, reason) in reasons(text) {
        let reason = reason.to_lowercase();
        if let Some(phrase) = ELSEWHERE.iter().find(|phrase| reason.contains(*phrase)) {
            report(line, &format!("`{phrase}` is no reason that can be checked here: give it again"));
        }
    }
    found
}

/// Returns the attributes that begin a line, each on one line, with the number of the line at which it begins.
fn attributes(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = (1..).zip(text.lines());
    std::iter::from_fn(move || {
        let (number, first) = lines.find(|(_, line)| line.trim_start().starts_with(['#']))?;
        let mut attribute = first.trim().to_string();
        while attribute.matches('[').count() > attribute.matches(']').count() {
            let Some((_, next)) = lines.next() else { break };
            attribute.push(' ');
            attribute.push_str(next.trim());
        }
        Some((number, attribute))
    })
}

/// Returns the comments that say why a block is sound, each on one line, with the number of the line at which it
/// begins.
fn reasons(text: &str) -> impl Iterator<Item = (usize, String)> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let begins: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with("// SAFETY:")).collect();
    begins.into_iter().map(move |at| {
        let comment = lines[at..].iter().map_while(|line| line.strip_prefix("//"));
        (at + 1, comment.map(str::trim).collect::<Vec<_>>().join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, package: &str, text: &str) -> Vec<usize> {
        check(path, package, text).iter().map(|violation| violation.line).collect()
    }

    fn root(text: &str) -> Vec<usize> {
        lines("hw/bus/src/lib.rs", "hw/bus", text)
    }

    fn module(text: &str) -> Vec<usize> {
        lines("hw/bus/src/window.rs", "hw/bus", text)
    }

    #[test]
    fn a_crate_without_the_rule_is_named() {
        assert_eq!(root("//! It.\n"), [1]);
        assert_eq!(lines("nook-run/src/main.rs", "nook-run", "//! It.\n"), [1]);
        assert_eq!(root("//! It, with `#![deny(unsafe_code)]`.\n"), [1]);
        assert_eq!(root("//! It.\n#![cfg_attr(not(target_arch = \"wasm32\"), deny(unsafe_code))]\n"), [1]);
        assert_eq!(root("//! It.\n#![deny(unsafe_code)]\n"), [0; 0]);
        assert_eq!(root("//! It.\n#![forbid(unsafe_code)]\n"), [0; 0]);
        assert_eq!(module("//! A module.\n"), [0; 0]);
    }

    #[test]
    fn crates_that_need_no_unsafe_code_forbid_it() {
        for package in ["abi", "drivers/e1000-wasm", "hw/regs", "hw/e1000-regs", "hw/e1000-model"] {
            let path = format!("{package}/src/lib.rs");
            assert_eq!(lines(&path, package, "//! It.\n#![deny(unsafe_code)]\n"), [1], "{path}");
            assert_eq!(lines(&path, package, "//! It.\n#![forbid(unsafe_code)]\n"), [0; 0], "{path}");
        }
    }

    #[test]
    fn unsafe_code_is_expected_with_a_reason_and_not_allowed() {
        assert_eq!(module("#[allow(unsafe_code)]\nmod raw;\n"), [1]);
        assert_eq!(module("\n#[expect(unsafe_code)]\nmod raw;\n"), [2]);
        assert_eq!(module("#[expect(unsafe_code, reason = \"system calls\")]\nmod raw;\n"), [0; 0]);
        assert_eq!(module("#![expect(\n    unsafe_code,\n    reason = \"system calls\"\n)]\n"), [0; 0]);
        assert_eq!(module("#[allow(\n    dead_code,\n    unsafe_code\n)]\nmod raw;\n"), [1]);
    }

    #[test]
    fn a_root_does_not_let_unsafe_code_into_its_whole_crate() {
        assert_eq!(root("//! It.\n#![deny(unsafe_code)]\n#![expect(unsafe_code, reason = \"speed\")]\n"), [3]);
        assert_eq!(
            root("//! It.\n#![deny(unsafe_code)]\n#[expect(unsafe_code, reason = \"speed\")]\nmod a;\n"),
            [0; 0]
        );
    }

    #[test]
    fn a_reason_is_given_where_the_block_stands() {
        assert_eq!(module("// SAFETY: as above.\n"), [1]);
        assert_eq!(module("\n    // SAFETY: the memory is mapped; and\n    // the same as in `read` holds.\n"), [2]);
        assert_eq!(module("// As above.\n// SAFETY: `fd` is open until `self` is dropped.\n"), [0; 0]);
    }
}
