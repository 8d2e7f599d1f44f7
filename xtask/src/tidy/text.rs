//! Rules about the text of files: length and width, the opening of a crate, marks of unfinished work, and nothing that
//! is true on one machine only.

use super::Violation;

/// A file with more lines has two subjects.
const MAX_LINES: usize = 500;

/// What rustfmt keeps code to; comments it leaves alone.
const MAX_COLUMNS: usize = 120;

/// Folders of source that serve any device, in which no device may be named.
const DEVICE_NEUTRAL: &[&str] = &["driver-sdk/src/", "runtime/src/", "recovery/src/"];

/// Names of devices and of what only some have, in lower case.
const DEVICE_NAMES: &[&str] = &["e1000", "8254", "8257", "8086", "ixgbe", "virtio", "nvme", "legacy descriptor"];

/// In pieces, so that this file passes its own rule.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const MACROS: &[&str] = &[concat!("to", "do!"), concat!("un", "implemented!")];

/// Folders that exist on somebody's machine.
const PRIVATE_FOLDERS: &[&str] =
    &[concat!("/", "work"), concat!("/", "home"), concat!("/", "root"), concat!("/", "Users")];

/// Parts of the names of hosts that serve packages.
const REGISTRY_HOSTS: &[&str] = &["crates.io", "registry", "pypi", "npmjs", "artifactory", "nexus", "mirror", "proxy"];

/// The one source that Cargo.lock may name: what every cargo uses unless told otherwise.
const PUBLIC_SOURCE: &str = concat!("registry+https://github.com/rust-lang/", "crates.io-index");

/// Checks one file against every rule that is about its text.
pub fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |line: usize, rule: &'static str, advice: String| {
        found.push(Violation { path: path.to_string(), line, rule, advice });
    };
    if path == "LICENSE" {
        return found;
    }
    if path == "Cargo.lock" {
        for (line, content) in numbered(text) {
            let source = content.strip_prefix("source = \"").and_then(|rest| rest.strip_suffix('"'));
            if source.is_some_and(|source| source.contains("registry") && source != PUBLIC_SOURCE) {
                report(line, "registry", "lock dependencies from the public registry under its own name".into());
            }
        }
        return found;
    }
    if path.ends_with(".rs") {
        check_source(path, text, &mut report);
    }
    if path.ends_with("/Cargo.toml") && !text.contains("[lints]\nworkspace = true\n") {
        report(1, "lints", "add `[lints]` with `workspace = true`: one set of rules for every crate".into());
    }
    let code = [".rs", ".c", ".h"].iter().any(|ending| path.ends_with(ending));
    for (line, content) in numbered(text) {
        let columns = content.chars().count();
        if code && columns > MAX_COLUMNS && content.trim_start().starts_with("//") {
            report(line, "width", format!("{columns} columns: break this comment at {MAX_COLUMNS}"));
        }
        if let Some(mark) = MARKS.iter().find(|mark| has_word(content, mark)) {
            report(line, "unfinished", format!("finish what `{mark}` stands for, or file an issue and drop the mark"));
        }
        if let Some(folder) = PRIVATE_FOLDERS.iter().find(|folder| has_folder(content, folder)) {
            report(line, "private path", format!("`{folder}` exists on one machine only; use a relative path"));
        }
        if let Some(host) = hosts(content).find(|host| REGISTRY_HOSTS.iter().any(|part| host.contains(part))) {
            report(line, "registry", format!("remove the address at {host}: where packages come from is set by users"));
        }
        let section = content.trim_start();
        if path.starts_with(".cargo/") && (section.starts_with("[source") || section.starts_with("[registries")) {
            report(line, "registry", "remove the section: where packages come from is set by users".into());
        }
    }
    found
}

fn check_source(path: &str, text: &str, report: &mut impl FnMut(usize, &'static str, String)) {
    let lines = text.lines().count();
    if lines > MAX_LINES {
        report(MAX_LINES + 1, "length", format!("{lines} lines are two subjects; split at {MAX_LINES} or before"));
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if matches!(name, "lib.rs" | "main.rs") && !text.starts_with("//!") {
        report(1, "opening", "open with `//!`: what it is, what it is not, what calls it".into());
    }
    let driver = path.starts_with("drivers/") && path.contains("/src/");
    // The SDK's stores become visible by the fence that follows them, and its tests play the device, natively.
    let sdk = path.starts_with("driver-sdk/") && path != "driver-sdk/src/testing.rs";
    let neutral = DEVICE_NEUTRAL.iter().any(|folder| path.starts_with(folder));
    for (line, content) in numbered(text) {
        let code = content.split("//").next().unwrap_or_default();
        if driver && code.contains("write_volatile") || (driver || sdk) && code.contains("read_volatile") {
            report(line, "volatile", "wasm has no volatile access; use the SDK's atomic descriptor types".into());
        }
        let lower = content.to_lowercase();
        if let Some(name) = DEVICE_NAMES.iter().find(|name| neutral && lower.contains(*name)) {
            report(line, "neutral", format!("`{name}` is one device's; say it in that device's crate"));
        }
        if let Some(name) = MACROS.iter().find(|name| code.contains(*name)) {
            report(line, "unfinished", format!("write what `{name}` stands for"));
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns whether the word stands in the line by itself and not within a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
}

/// Returns whether the line names a path that begins with this folder; `network/work` and `a/home` do not.
fn has_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let continued = |c: char| is_word(c) || "-./)}]>*~$".contains(c);
        !line[..at].ends_with(continued) && !line[at + folder.len()..].starts_with(|c| is_word(c) || c == '-')
    })
}

/// Returns the hosts of the web addresses in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let addresses = line.split("://").skip(1);
    addresses
        .map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).next().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(path, text).iter().map(|violation| (violation.line, violation.rule)).collect()
    }

    #[test]
    fn a_file_of_500_lines_passes_and_one_of_501_does_not() {
        assert_eq!(rules("classes/net/src/tap.rs", &"\n".repeat(500)), []);
        assert_eq!(rules("classes/net/src/tap.rs", &"\n".repeat(501)), [(501, "length")]);
        assert_eq!(rules("docs/long.md", &"\n".repeat(501)), []);
    }

    #[test]
    fn a_crate_opens_with_what_it_is() {
        assert_eq!(rules("classes/net/src/lib.rs", "use std::io;\n"), [(1, "opening")]);
        assert_eq!(rules("nook-run/src/main.rs", "\n//! Late.\n"), [(1, "opening")]);
        assert_eq!(rules("classes/net/src/lib.rs", "//! Packets.\n"), []);
        assert_eq!(rules("classes/net/src/tap.rs", "use std::io;\n"), []);
    }

    #[test]
    fn a_comment_is_as_wide_as_code_at_most() {
        for path in ["classes/net/src/tap.rs", "driver-sdk/c/include/nook/abi.h"] {
            assert_eq!(rules(path, &format!("\n    // {}\n", "ü".repeat(113))), [], "{path}");
            assert_eq!(rules(path, &format!("\n    // {}\n", "ü".repeat(114))), [(2, "width")], "{path}");
            assert_eq!(rules(path, &format!("/// {}\n", "x".repeat(117))), [(1, "width")], "{path}");
        }
        assert_eq!(rules("docs/long.md", &"x".repeat(300)), []);
    }

    #[test]
    fn volatile_is_refused_in_guest_code_and_only_there() {
        let text = "// not read_volatile\nlet a = p.read_volatile();\nlet b = write_volatile(p, 1);\n";
        assert_eq!(rules("drivers/e1000-wasm/src/rx.rs", text), [(2, "volatile"), (3, "volatile")]);
        assert_eq!(rules("driver-sdk/src/dma.rs", text), [(2, "volatile")]);
        assert_eq!(rules("driver-sdk/src/testing.rs", text), []);
        assert_eq!(rules("hw/bus/src/window.rs", text), []);
    }

    #[test]
    fn what_serves_any_device_names_none() {
        let text = "/// A register.\n// As the E1000 does.\nconst VENDOR: u16 = 0x8086;\n";
        for path in ["runtime/src/nook.rs", "recovery/src/policy.rs", "driver-sdk/src/ring.rs"] {
            assert_eq!(rules(path, text), [(2, "neutral"), (3, "neutral")], "{path}");
        }
        for path in ["hw/qemu/src/device.rs", "runtime/tests/poll.rs", "nook-run/src/cli.rs"] {
            assert_eq!(rules(path, text), [], "{path}");
        }
    }

    #[test]
    fn every_crate_takes_the_lints_of_the_workspace() {
        assert_eq!(rules("classes/net/Cargo.toml", "[package]\nname = \"nook-net\"\n"), [(1, "lints")]);
        assert_eq!(rules("classes/net/Cargo.toml", "[lints]\nworkspace = true\n"), []);
        assert_eq!(rules("Cargo.toml", "[workspace]\n"), []);
    }

    #[test]
    fn marks_of_unfinished_work_are_found_as_words() {
        for mark in MARKS {
            assert_eq!(rules("README.md", &format!("fine\nhere ({mark}: later)\n")), [(2, "unfinished")]);
            assert_eq!(rules("README.md", &format!("mktemp a.{mark}{mark}\n")), []);
        }
        for name in MACROS {
            assert_eq!(rules("classes/net/src/tap.rs", &format!("fn f() {{ {name}() }}\n")), [(1, "unfinished")]);
        }
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for folder in PRIVATE_FOLDERS {
            assert_eq!(rules("README.md", &format!("cd {folder}/main\n")), [(1, "private path")]);
            assert_eq!(rules("classes/net/src/tap.rs", &format!("open(\"{folder}\")\n")), [(1, "private path")]);
            assert_eq!(rules("README.md", &format!("net{folder} {folder}er ../a{folder}/b\n")), []);
        }
    }

    #[test]
    fn addresses_of_registries_are_found_and_other_addresses_are_not() {
        let address = |host: &str| format!("from https://{host}/simple\n");
        for host in ["index.crates.io", "registry.npmjs.org", "pypi.org", "proxy.golang.org"] {
            assert_eq!(rules("README.md", &address(host)), [(1, "registry")], "{host}");
        }
        assert_eq!(rules("README.md", &address("www.kernel.org")), []);
        assert_eq!(rules(".cargo/config.toml", "[alias]\n[source.local]\n"), [(2, "registry")]);
    }

    #[test]
    fn the_lock_file_names_the_public_source_only() {
        assert_eq!(rules("Cargo.lock", &format!("source = \"{PUBLIC_SOURCE}\"\n")), []);
        assert_eq!(rules("Cargo.lock", "\nsource = \"registry+https://other.example/index\"\n"), [(2, "registry")]);
    }
}
