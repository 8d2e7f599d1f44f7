//! `cargo xtask tidy`: the invariants of the tree, checked on every change. Each violation is one line
//! `path:line: rule: what to do`.
//!
//! The rules are functions over data (packages, texts); only this file reads the tree.

use crate::docs::pages;
use crate::{cargo, util};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

mod book;
mod features;
mod imports;
pub mod links;
mod promises;
mod text;
mod unsafety;
mod unused;
mod vocabulary;
mod words;

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Relative to the repository.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// The rule's short name.
    pub rule: &'static str,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.advice)
    }
}

/// The folder into which cargo builds.
const TARGET: &str = "target";

/// What a reader, a script or a document elsewhere relies on finding.
const REQUIRED: &[&str] = &[
    "Cargo.toml",
    "runtime/",
    "abi/",
    "driver-sdk/",
    "drivers/e1000-wasm/",
    "hw/pci-passthrough/",
    "recovery/",
    "benches/",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
];

/// Checks the whole tree; an error if anything is violated.
pub fn run() -> Result<()> {
    let root = util::root();
    let packages = cargo::packages()?;
    let manifest = |dir: &str| fs::read_to_string(root.join(dir).join("Cargo.toml")).unwrap_or_default();
    let reach = cargo::reach()?;
    let mut found = imports::check(&packages, &reach, manifest);
    let runtime = packages.iter().find(|package| package.dir == "runtime").and_then(|it| reach.get(&it.name));
    let engine = runtime.context("no package in runtime/, which holds the engine")?;
    found.extend(features::check(&cargo::features(false)?, &cargo::features(true)?, engine));
    found.extend(missing_paths(|path| root.join(path).exists()));
    found.extend(built_paths(&tracked(&root)?));
    let mut files = Vec::new();
    walk(&root, "", &mut files)?;
    let (mut sources, mut scripts) = (Vec::new(), Vec::new());
    let (mut promises, mut summary) = (None, String::new());
    for path in &files {
        let bytes = fs::read(root.join(path)).with_context(|| format!("reading {path}"))?;
        // What is not UTF-8 is data (a capture, an image), and the rules are about text.
        let Ok(content) = String::from_utf8(bytes) else { continue };
        found.extend(text::check(path, &content));
        found.extend(words::check(words::RULES, path, &content));
        found.extend(vocabulary::check(vocabulary::PHRASES, vocabulary::NAMES, path, &content));
        if path.ends_with(".md") {
            found.extend(links::check(path, &content, |target| place(&root.join(target))));
        }
        if path == pages::SUMMARY {
            summary = content;
        } else if path == promises::DOCUMENT {
            promises = Some(content);
        } else if path.ends_with(".rs") {
            let package = unused::package_of(path, &packages).map_or("", |package| &package.dir);
            found.extend(unsafety::check(path, package, &content));
            sources.push((path.clone(), content));
        } else if path.ends_with(".sh") {
            scripts.push((path.clone(), content));
        }
    }
    found.extend(unused::check(&packages, &sources, manifest));
    sources.append(&mut scripts);
    let defines = |name: &str| sources.iter().any(|(path, source)| promises::defines(path, source, name));
    let promises = promises.with_context(|| format!("no {}", promises::DOCUMENT))?;
    found.extend(promises::check(&promises, defines, |path| root.join(path).exists()));
    found.extend(book::check(&summary, &files));
    found.sort();
    for violation in &found {
        println!("{violation}");
    }
    if !found.is_empty() {
        bail!("tidy: {} violations in {} files of {} packages", found.len(), files.len(), packages.len());
    }
    println!("tidy: {} files of {} packages are in order", files.len(), packages.len());
    Ok(())
}

fn place(path: &Path) -> links::Place {
    match path.extension().is_some_and(|extension| extension == "md").then(|| fs::read_to_string(path)) {
        Some(Ok(text)) => links::Place::Document(text),
        _ if path.exists() => links::Place::Other,
        _ => links::Place::Nothing,
    }
}

/// Returns all files below `folder` (relative, with `/`), except what is built or git's own.
fn walk(root: &Path, folder: &str, files: &mut Vec<String>) -> Result<()> {
    let entries =
        fs::read_dir(root.join(folder)).with_context(|| format!("listing {}", root.join(folder).display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("listing {}", root.join(folder).display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let kind = entry.file_type().with_context(|| format!("looking at {path}"))?;
        let built = path == TARGET || path.ends_with(&format!("/{TARGET}"));
        if kind.is_dir() && !built && path != ".git" {
            walk(root, &path, files)?;
        } else if kind.is_file() && path != ".git" {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns what git tracks; nothing in a tree without git.
fn tracked(root: &Path) -> Result<Vec<String>> {
    if !root.join(".git").exists() {
        return Ok(Vec::new());
    }
    let paths = util::output(Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]))?;
    Ok(paths.split_terminator('\0').map(String::from).collect())
}

/// Returns what a build makes, in any package's folder, is not kept.
fn built_paths(tracked: &[String]) -> Vec<Violation> {
    let built = tracked.iter().filter(|path| path.split('/').any(|part| part == TARGET));
    built
        .map(|path| Violation {
            path: path.clone(),
            line: 1,
            rule: "built",
            advice: format!("a build made this: git rm --cached it; .gitignore names `{TARGET}`"),
        })
        .collect()
}

fn missing_paths(exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let missing = REQUIRED.iter().filter(|path| !exists(path));
    missing
        .map(|path| Violation {
            path: path.to_string(),
            line: 1,
            rule: "layout",
            advice: "this path is relied on from outside; put it back".into(),
        })
        .collect()
}

/// Returns whether the path matches a pattern in which each `*` stands for characters other than `/`.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == path;
    };
    let Some(rest) = path.strip_prefix(before) else {
        return false;
    };
    let segment = rest.find('/').unwrap_or(rest.len());
    (1..=segment).any(|end| rest.is_char_boundary(end) && matches(after, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_one_line_with_its_place() {
        let violation = Violation { path: "abi/src/lib.rs".into(), line: 7, rule: "length", advice: "split it".into() };
        assert_eq!(violation.to_string(), "abi/src/lib.rs:7: length: split it");
    }

    #[test]
    fn a_path_that_must_exist_and_does_not_is_named() {
        let found = missing_paths(|path| path != "recovery/");
        assert_eq!(found.iter().map(|v| v.path.as_str()).collect::<Vec<_>>(), ["recovery/"]);
        assert!(missing_paths(|_| true).is_empty());
    }

    #[test]
    fn what_a_build_made_is_not_tracked_in_any_folder() {
        let tracked = ["target/a", "benches/target/criterion/b.svg", "xtask/src/target.rs", "docs/targets/c"];
        let found = built_paths(&tracked.map(String::from));
        assert_eq!(found.iter().map(|v| v.path.as_str()).collect::<Vec<_>>(), &tracked[..2]);
    }

    #[test]
    fn a_star_stands_for_part_of_one_folder_name() {
        assert!(matches("hw/*-regs", "hw/e1000-regs"));
        assert!(matches("drivers/*/src/lib.rs", "drivers/e1000-wasm/src/lib.rs"));
        assert!(!matches("hw/*-regs", "hw/regs"));
        assert!(!matches("hw/*-regs", "hw/-regs"));
        assert!(!matches("hw/*", "hw/bus/src"));
        assert!(!matches("abi", "abi2"));
    }
}
