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
                violation(format!("there is no `{name}`: name the test that shows it, or withdraw the promise"));
            }
        }
    }
    found
}

/// Returns whether the source at `path` defines a test or a case of this name: a function of Rust that is a test, a row
/// of the macro that makes one test for each fault, a case of the guest's script, or the name of a hostile driver.
pub fn defines(path: &str, source: &str, name: &str) -> bool {
    if !source.contains(name) {
        return false;
    }
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let function = format!("fn {name}(");
    let is_test = |at: usize| {
        let mut before = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        lines[at].starts_with(&function) && before.any(|line| *line == "#[test]")
    };
    let is_row = |at: usize| {
        let row = lines[at].strip_suffix(';').and_then(|row| row.split_once(' '));
        row.is_some_and(|(test, _)| test == name) && lines[..at].iter().rev().any(|line| *line == "faults! {")
    };
    let quoted = format!("\"{name}\",");
    let is_hostile = |at: usize| {
        let written = lines[at].split_once(&quoted).map(|(before, _)| before);
        written.is_some_and(|before| before.is_empty() || before == "name: " || before.ends_with('('))
    };
    (0..lines.len()).any(|at| match path {
        _ if path.ends_with(".sh") => lines[at].starts_with(&format!("case_{name}()")),
        _ if path.starts_with("tests/hostile/cases/") => is_hostile(at),
        _ => is_test(at) || is_row(at),
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
        for (path, source) in [
            ("tests/tests/a.rs", "#[test]\n    fn a_test() {"),
            ("tests/tests/a.rs", "#[test]\n#[ignore = \"needs root\"]\n// Slow.\nfn a_test() {"),
            ("tests/guest/cases.sh", "case_a_test() {"),
            ("tests/hostile/tests.rs", "faults! {\n    b_test B;\n    a_test Variant;\n}"),
            ("tests/hostile/cases/time.rs", "    \"a_test\","),
            ("tests/hostile/cases/time.rs", "name: \"a_test\","),
            ("tests/hostile/cases/time.rs", "Case { holds, ..harmless(\"a_test\", Class::Hang) }"),
        ] {
            assert!(defines(path, source, "a_test"), "{path}: {source}");
        }
    }

    #[test]
    fn what_only_has_its_name_defines_no_test() {
        for (path, source) in [
            ("tests/tests/a.rs", "#[test]\nfn a_test_more() {"),
            // A helper, and one that stands before a test.
            ("tests/src/rig.rs", "/// Helps.\nfn a_test() {"),
            ("tests/src/rig.rs", "fn a_test() {\n}\n#[test]\nfn another() {"),
            ("tests/tests/a.rs", "// a_test"),
            ("tests/tests/a.rs", "a_test();\ncall(a_test);"),
            ("tests/tests/a.rs", "    a_test Variant;"),
            // Text that is no case's name.
            ("nook-run/src/cli.rs", "    \"a_test\","),
            ("tests/hostile/tests.rs", "let tells = |case| case.name != \"a_test\","),
            ("tests/hostile/cases/time.rs", "assert_eq!(case.name, \"a_test\", ..)"),
            ("tests/guest/cases.sh", "a_test() {"),
        ] {
            assert!(!defines(path, source, "a_test"), "{path}: {source}");
        }
    }
}
