//! apt with folders of ours only: the sources of packages that the system names, changed to what is wanted of them.
//! Nothing is installed or changed on the system, and nobody has to be root. What is downloaded is checked by apt
//! against the archive's signed index.

use crate::util;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LISTS_LIMIT: Duration = Duration::from_secs(120);

/// Which packages of the archives that the system names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packages {
    /// Their source packages.
    Sources,
    /// The packages of bookworm-backports, where bookworm's are named.
    Backports,
}

/// The release that has backports, and their suite.
const RELEASE: &str = "bookworm";
const BACKPORTS: &str = "bookworm-backports";

/// Makes the folders below `apt` and fetches the lists of packages, from the sources in `etc`.
pub fn update(apt: &Path, etc: &Path, packages: Packages) -> Result<()> {
    if util::find_program("apt-get").is_none() {
        bail!("there is no apt-get here");
    }
    for inner in ["lists/partial", "cache/archives/partial", "sources", "files"] {
        let inner = apt.join(inner);
        fs::create_dir_all(&inner).with_context(|| format!("making {}", inner.display()))?;
    }
    // Nothing is installed, as far as this apt knows.
    util::write_if_changed(&apt.join("status"), b"")?;
    write_sources(etc, &apt.join("sources"), packages)?;
    util::run_limited(apt_get(apt).args(["-qq", "update"]), LISTS_LIMIT)
}

/// Returns the command, which is to be given what it does.
pub fn apt_get(apt: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.stdin(Stdio::null()).args(["-o", "Acquire::http::Timeout=30", "-o", "APT::Sandbox::User="]);
    let none = apt.join("sources.list");
    for (option, path) in [
        ("Dir::Etc::sourcelist", none),
        ("Dir::Etc::sourceparts", apt.join("sources")),
        ("Dir::State::lists", apt.join("lists")),
        ("Dir::State::status", apt.join("status")),
        ("Dir::Cache", apt.join("cache")),
    ] {
        command.arg("-o").arg(format!("{option}={}", path.display()));
    }
    command
}

/// Writes the system's own sources of Debian's packages, as what is wanted.
fn write_sources(etc: &Path, into: &Path, packages: Packages) -> Result<()> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    let mut lines = String::new();
    let mut stanzas = String::new();
    for file in &files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        if file.extension().is_some_and(|ending| ending == "sources") {
            stanzas += &source_stanzas(&text, packages);
        } else {
            lines += &source_lines(&text, packages);
        }
    }
    ensure!(
        !(lines.is_empty() && stanzas.is_empty()),
        "{} names no source of Debian's packages{}",
        etc.display(),
        if packages == Packages::Backports { " for bookworm" } else { "" }
    );
    util::write_if_changed(&into.join("debian.list"), lines.as_bytes())?;
    util::write_if_changed(&into.join("debian.sources"), stanzas.as_bytes())?;
    Ok(())
}

/// Changes lines of the old form: `deb [options] address suite components`.
fn source_lines(text: &str, packages: Packages) -> String {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("deb "));
    let line = |rest: &str| match packages {
        Packages::Sources => Some(format!("deb-src {rest}\n")),
        Packages::Backports => backports(rest).map(|rest| format!("deb {rest}\n")),
    };
    lines.filter(|rest| is_debians(rest)).filter_map(line).collect()
}

/// Changes stanzas of the new form: a line `Types:` among others.
fn source_stanzas(text: &str, packages: Packages) -> String {
    let is_type = |line: &&str| line.starts_with("Types:");
    let mut stanzas = String::new();
    for stanza in text.split("\n\n").filter(|stanza| is_debians(stanza)) {
        if !stanza.lines().any(|line| is_type(&line) && line.split_whitespace().any(|word| word == "deb")) {
            continue;
        }
        let kind = if packages == Packages::Sources { "Types: deb-src\n" } else { "Types: deb\n" };
        let mut made = String::from(kind);
        let mut has_suite = packages == Packages::Sources;
        for line in stanza.lines().filter(|line| !is_type(line) && !line.starts_with('#')) {
            if packages == Packages::Backports && line.starts_with("Suites:") {
                has_suite = line.split_whitespace().any(|word| word == RELEASE);
                made += &format!("Suites: {BACKPORTS}\n");
            } else {
                made += &format!("{line}\n");
            }
        }
        if has_suite {
            stanzas += &made;
            stanzas.push('\n');
        }
    }
    stanzas
}

/// Returns the line with the suite of backports, if the release is what it names.
fn backports(rest: &str) -> Option<String> {
    let words: Vec<_> = rest.split_whitespace().collect();
    let changed = words.iter().map(|word| if *word == RELEASE { BACKPORTS } else { word });
    words.contains(&RELEASE).then(|| changed.collect::<Vec<_>>().join(" "))
}

/// Returns whether it is Debian's own archive, or a copy: those end with the distribution's name.
fn is_debians(source: &str) -> bool {
    source.split_whitespace().any(|word| {
        let address = word.trim_end_matches('/');
        address.contains("://") && (address.ends_with("/debian") || address.ends_with("/debian-security"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "# deb http://a.example/debian bookworm main\ndeb http://a.example/debian bookworm main\n\
                         deb http://a.example/debian-security bookworm-security main\n\
                         deb [signed-by=/k] https://b.example/other x main\ndeb-src http://c.example/debian s main\n";
    const STANZAS: &str = "Types: deb\n# a remark\nURIs: http://a.example/debian/\nSuites: bookworm bookworm-updates\n\
                           Components: main\n\nTypes: deb\nURIs: https://b.example/node\nSuites: n\n\n\
                           Types: deb-src\nURIs: http://a.example/debian\n";

    #[test]
    fn what_the_system_names_becomes_sources_of_source_packages() {
        assert_eq!(
            source_lines(LINES, Packages::Sources),
            "deb-src http://a.example/debian bookworm main\n\
             deb-src http://a.example/debian-security bookworm-security main\n"
        );
        assert_eq!(
            source_stanzas(STANZAS, Packages::Sources),
            "Types: deb-src\nURIs: http://a.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
        );
    }

    #[test]
    fn what_the_system_names_of_bookworm_becomes_backports() {
        assert_eq!(source_lines(LINES, Packages::Backports), "deb http://a.example/debian bookworm-backports main\n");
        assert_eq!(
            source_stanzas(STANZAS, Packages::Backports),
            "Types: deb\nURIs: http://a.example/debian/\nSuites: bookworm-backports\nComponents: main\n\n"
        );
        assert_eq!(source_stanzas(&STANZAS.replace("bookworm ", "trixie "), Packages::Backports), "");
    }

    #[test]
    fn apt_uses_folders_of_ours_only() {
        let line = util::shown(&apt_get(Path::new("/t")));
        for option in [
            "Dir::Etc::sourcelist=/t/",
            "Dir::Etc::sourceparts=/t/",
            "Dir::State::lists=/t/",
            "Dir::State::status=/t/",
            "Dir::Cache=/t/",
        ] {
            assert!(line.contains(option), "{line}");
        }
    }
}
