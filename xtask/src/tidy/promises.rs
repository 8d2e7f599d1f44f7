//! Promises: the tests that docs/security.md names behind each one must exist.

use super::Violation;

/// The document. Its tables whose last column is headed `test` are looked at.
pub const DOCUMENT: &str = "docs/security.md";

/// Checks the document. `defines` says whether some source defines a test or a case of this name, `exists` whether a
/// path is there.
pub fn check(text: &str, defines: impl Fn(&str) -> bool, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut in_table = false;
    for (number, line) in (1..).zip(text.lines()) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            in_table = false;
            continue;
        }
        let last = cells.last().copied().unwrap_or_default();
        if !in_table {
            in_table = last == "test";
            continue;
        }
        if last.starts_with("---") {
            continue;
        }
        let mut violation =
            |advice| found.push(Violation { path: DOCUMENT.into(), line: number, rule: "promises", advice });
        let names: Vec<&str> = last.split('`').skip(1).step_by(2).filter(|name| !name.contains(' ')).collect();
        if names.is_empty() {
            violation("a promise without a test: name one".into());
        }
        for name in names {
            let there = if name.contains('/') { exists(name) } else { defines(name) };
            if !there {
                violation(format!("there is no `{name}`: name the test that shows it, or take the promise back"));
            }
        }
    }
    found
}

/// Whether a source defines a test or a case of this name: a function of Rust or of the shell, a row of a macro, or a
/// case's name as text.
pub fn defines(source: &str, name: &str) -> bool {
    let is = |found: &str| found == name;
    source.contains(name)
        && source.lines().map(str::trim_start).any(|line| {
            let function = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')).map(|(name, _)| name);
            let shell = line.strip_prefix("case_").and_then(|rest| rest.split_once("()")).map(|(name, _)| name);
            let row = line.strip_suffix(';').and_then(|row| row.split_once(' ')).map(|(name, _)| name);
            let text = line.split('"').nth(1);
            [function, shell, row, text].into_iter().flatten().any(is)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Promises\n\n| promise | how | test |\n|---|---|---|\n";

    fn lines(rows: &str) -> Vec<usize> {
        let found = check(&format!("{HEAD}{rows}"), |name| name == "a_test", |path| path == "tests/a.rs");
        found.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_promise_with_tests_that_exist_is_fine() {
        let rows = "| a | `b` | `a_test`, `tests/a.rs` and `a_test` of `cargo xtask x` |\n\n| mode | `nothing` |\n|---|---|\n| x | `gone` |\n";
        assert_eq!(lines(rows), [0; 0]);
    }

    #[test]
    fn a_promise_without_a_test_or_with_one_that_is_gone_is_named_with_its_line() {
        assert_eq!(
            lines("| a | b | every case |\n| a | b | `a_test` |\n| a | b | `gone`, `tests/b.rs` |\n"),
            [5, 7, 7]
        );
    }

    #[test]
    fn what_defines_a_test() {
        for source in
            ["    fn a_test() {", "case_a_test() {", "    a_test Variant;", "    \"a_test\",", "name: \"a_test\","]
        {
            assert!(defines(source, "a_test"), "{source}");
        }
        for source in ["fn a_test_more() {", "// a_test", "a_test();", "call(a_test);"] {
            assert!(!defines(source, "a_test"), "{source}");
        }
    }
}
