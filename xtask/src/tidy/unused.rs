//! Dependencies that nobody uses: each one that a Cargo.toml names must occur in the package's sources, and each one of
//! the workspace in a package.

use super::{Violation, imports::line_of};
use crate::cargo::{Dependency, Kind, Package};

const RULE: &str = "unused";

/// Dependencies that no source names, with what they are for: (folder of the package, dependency, what it is for).
const INDIRECT: &[(&str, &str, &str)] = &[
    ("runtime", "nook-wasi", SAME_ENGINE),
    ("recovery", "nook-wasi", SAME_ENGINE),
    ("instrument", "nook-wasi", SAME_ENGINE),
    ("isolation/compiled", "nook-wasi", SAME_ENGINE),
    ("isolation/native", "nook-wasi", SAME_ENGINE),
    ("isolation/process", "nook-wasi", SAME_ENGINE),
];

/// It brings in the engine's features that the workspace as a whole has.
const SAME_ENGINE: &str = "`cargo test -p` of this package takes the engine that the workspace has built";

const BUILD: &str = "/build.rs";

/// One `.rs` file: its path in the repository, and its text.
pub type Source = (String, String);

/// Checks every package. `manifest` returns the text of a folder's Cargo.toml, and of the workspace's for the empty
/// name.
pub fn check(packages: &[Package], sources: &[Source], manifest: impl Fn(&str) -> String) -> Vec<Violation> {
    let mut found = check_packages(packages, sources, &manifest, INDIRECT);
    let named = |name: &str| packages.iter().flat_map(|package| &package.dependencies).any(|it| it.named == name);
    for (line, name) in workspace_dependencies(&manifest("")).filter(|(_, name)| !named(name)) {
        let advice = format!("remove {name}: no package of the workspace asks for it");
        found.push(Violation { path: "Cargo.toml".into(), line, rule: RULE, advice });
    }
    found
}

fn check_packages(
    packages: &[Package],
    sources: &[Source],
    manifest: impl Fn(&str) -> String,
    indirect: &[(&str, &str, &str)],
) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            let known = indirect.iter().any(|(dir, name, _)| (*dir, *name) == (&package.dir, &dependency.named));
            let own = sources.iter().filter(|(path, _)| package_of(path, packages) == Some(package));
            let used = own.filter(|(path, _)| may_use(dependency.kind, &path[package.dir.len()..])).any(|(_, text)| {
                let name = dependency.named.replace('-', "_");
                text.lines().any(|line| uses(line, &name))
            });
            let name = &dependency.named;
            let advice = match (used, known) {
                (false, false) => format!("remove {name}: no {} of this package uses it", place(dependency)),
                (true, true) => format!("{name} is used: take it off the list in xtask/src/tidy/unused.rs"),
                _ => continue,
            };
            let path = format!("{}/Cargo.toml", package.dir);
            found.push(Violation { path, line: line_of(&manifest(&package.dir), name), rule: RULE, advice });
        }
    }
    found
}

/// Returns the package in whose folder the file lies.
pub fn package_of<'a>(path: &str, packages: &'a [Package]) -> Option<&'a Package> {
    let within = |dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    packages.iter().filter(|package| within(&package.dir)).max_by_key(|package| package.dir.len())
}

/// Returns whether a file of the package (`/src/lib.rs`) may use a dependency of this kind.
fn may_use(kind: Kind, file: &str) -> bool {
    match kind {
        Kind::Normal => !["/tests/", "/benches/", "/examples/", BUILD].iter().any(|dir| file.starts_with(dir)),
        Kind::Build => file == BUILD,
        Kind::Dev => true,
    }
}

fn place(dependency: &Dependency) -> &'static str {
    match dependency.kind {
        Kind::Normal => "library or program",
        Kind::Build => "build.rs",
        Kind::Dev => "test, bench or example",
    }
}

/// Returns whether the line of code names something of this crate: `name::`, or all of it in a `use`.
fn uses(line: &str, name: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let path = before.strip_suffix("::").unwrap_or(before);
        let first = !before.ends_with(word) && !path.ends_with(|c| word(c) || c == '>');
        let imported = ["use ", "crate "].iter().any(|keyword| before.ends_with(keyword));
        first && (after.starts_with("::") || imported && !after.starts_with(word))
    })
}

/// Returns the names in `[workspace.dependencies]` and their lines.
fn workspace_dependencies(manifest: &str) -> impl Iterator<Item = (usize, &str)> {
    let section = (1..).zip(manifest.lines()).skip_while(|(_, line)| *line != "[workspace.dependencies]").skip(1);
    section.take_while(|(_, line)| !line.starts_with('[')).filter_map(|(number, line)| {
        let (name, _) = line.split_once('=')?;
        (!name.starts_with('#')).then(|| (number, name.trim().trim_end_matches(".workspace")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dir: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependency = |&(name, kind): &(&str, Kind)| Dependency { name: name.into(), named: name.into(), kind };
        Package {
            name: dir.into(),
            dir: dir.into(),
            dependencies: dependencies.iter().map(dependency).collect(),
            has_cdylib: false,
        }
    }

    fn source(path: &str, text: &str) -> Source {
        (path.into(), text.into())
    }

    fn advice(packages: &[Package], sources: &[Source], indirect: &[(&str, &str, &str)]) -> Vec<String> {
        let found = check_packages(packages, sources, |_| String::new(), indirect);
        found.into_iter().map(|violation| violation.advice).collect()
    }

    #[test]
    fn a_dependency_that_no_source_names_is_a_violation() {
        let packages = [package("net", &[("vm-memory", Kind::Normal), ("bytes", Kind::Normal)])];
        let text = "use vm_memory::VolatileSlice;\n// bytes::Bytes\nlet bytes = more_bytes::all(self.bytes);\n";
        let found = advice(&packages, &[source("net/src/lib.rs", text)], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("remove bytes: no library or program"), "{found:?}");
    }

    #[test]
    fn what_only_tests_use_is_no_dependency_of_the_crate() {
        let sources = [source("net/tests/a.rs", "let dir = tempfile::tempdir();\n")];
        assert_eq!(advice(&[package("net", &[("tempfile", Kind::Dev)])], &sources, &[]), [""; 0]);
        assert_eq!(advice(&[package("net", &[("tempfile", Kind::Normal)])], &sources, &[]).len(), 1);
        assert_eq!(advice(&[package("net", &[("tempfile", Kind::Build)])], &sources, &[]).len(), 1);
    }

    #[test]
    fn a_package_within_the_folder_of_another_has_sources_and_dependencies_apart() {
        let packages = [package("process", &[("libc", Kind::Normal)]), package("process/guest", &[])];
        let found = advice(&packages, &[source("process/guest/src/lib.rs", "use libc::c_int;\n")], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn what_no_source_names_may_be_listed_and_is_taken_off_when_one_does() {
        let packages = [package("net", &[("libc", Kind::Normal)])];
        let list = [("net", "libc", "its features")];
        assert_eq!(advice(&packages, &[], &list), [""; 0]);
        let found = advice(&packages, &[source("net/src/lib.rs", "libc::abort()\n")], &list);
        assert!(found[0].contains("take it off the list"), "{found:?}");
    }

    #[test]
    fn what_uses_a_crate() {
        for line in ["use serde::Serialize;", "pub use libc;", "extern crate alloc;", "x(::libc::abort())", "-> wat::R"]
        {
            let name = ["serde", "libc", "alloc", "wat"].into_iter().find(|name| line.contains(name)).unwrap();
            assert!(uses(line, name), "{line}");
        }
        for line in ["// libc::abort()", "crate::libc::abort()", "let libc = 1;", "my_libc::abort()", "use libcore;"] {
            assert!(!uses(line, "libc"), "{line}");
        }
    }

    #[test]
    fn a_dependency_of_the_workspace_that_no_package_asks_for_is_named_with_its_line() {
        let manifest = "[workspace]\n[workspace.dependencies]\n# tun: no\nlibc = \"0.2\"\ntun-rs = { version = \"2\" }\n\
                        [profile.release]\ndebug = 1\n";
        let packages = [package("net", &[("libc", Kind::Normal)])];
        let sources = [source("net/src/lib.rs", "use libc::c_int;\n")];
        let found = check(&packages, &sources, |dir| if dir.is_empty() { manifest.into() } else { String::new() });
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].path.as_str()), (5, "Cargo.toml"));
        assert!(found[0].advice.starts_with("remove tun-rs"), "{found:?}");
    }
}
