//! `cargo xtask docs`: the book, `target/book/index.html`, made of the documents that docs/SUMMARY.md names, with the
//! SDK's rustdoc in it. What a document links to of the sources is put into the book as well, so that it can be read
//! without the repository.
//!
//! The documents are those that a forge shows: relative links lead where they lead in the repository, and `cargo xtask
//! tidy` checks them. Here the links of what was built are checked again, as a browser follows them.

mod built;
pub mod pages;

use crate::{cargo, util};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes a book of pages; its version is pinned, for what it makes of a page is checked.
const MDBOOK: &str = "mdbook";
const VERSION: &str = "0.5.4";

/// Settings of the book.
const SETTINGS: &str = "docs/book.toml";

/// A crate whose rustdoc is in the book.
struct Documented {
    package: &'static str,
    features: &'static str,
    /// Links to this file lead to its rustdoc.
    source: &'static str,
}

/// What drivers and their tests are written with.
const DOCUMENTED: &[Documented] = &[
    Documented { package: "nook-sdk", features: "nook-sdk/testing", source: "driver-sdk/src/lib.rs" },
    Documented { package: "nook-regs", features: "", source: "hw/regs/src/lib.rs" },
    Documented { package: "nook-abi", features: "", source: "abi/src/lib.rs" },
    Documented { package: "nook-client", features: "", source: "clients/rust/src/lib.rs" },
];

/// The folder of the book that has it.
const RUSTDOC: &str = "rustdoc";

/// Builds the book and its rustdoc, checks every link in the pages, and says where it is.
///
/// # Errors
/// If mdbook is not there and cannot be built, if a page or its rustdoc cannot be made, or if a link leads nowhere.
pub fn run() -> Result<()> {
    let mdbook = mdbook()?;
    let (target, root) = (util::target_dir(), util::root());
    let (source, book) = (target.join("book-source"), target.join("book"));
    for folder in [&source, &book] {
        // What was taken out of the book must not stay in it.
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    let pages = pages::stage(&root, &source.join("src"), &rustdoc_of)?;
    fs::copy(root.join(SETTINGS), source.join("book.toml")).with_context(|| format!("copying {SETTINGS}"))?;
    util::run(Command::new(mdbook).arg("build").arg("--dest-dir").arg(&book).arg(&source))?;
    rustdoc(&target, &book.join(RUSTDOC))?;
    let broken = built::broken_links(&book, RUSTDOC)?;
    for link in &broken {
        println!("{link}");
    }
    if !broken.is_empty() {
        bail!("docs: {} links of the book lead nowhere", broken.len());
    }
    println!("docs: {pages} pages, every link leads somewhere: {}", shown(&root, &book.join("index.html")));
    Ok(())
}

/// Returns where the book has the rustdoc of the crate that this file begins.
fn rustdoc_of(path: &str) -> Option<String> {
    let documented = DOCUMENTED.iter().find(|documented| documented.source == path)?;
    Some(format!("{RUSTDOC}/{}/index.html", documented.package.replace('-', "_")))
}

/// Returns mdbook of the pinned version; it is built into `target/tools` if it is not there.
fn mdbook() -> Result<PathBuf> {
    let tools = util::target_dir().join("tools");
    let program = tools.join("bin").join(MDBOOK);
    let is_it = |said: String| said.trim().trim_start_matches("mdbook v") == VERSION;
    if program.is_file() && util::output(Command::new(&program).arg("--version")).is_ok_and(is_it) {
        return Ok(program);
    }
    eprintln!("docs: building {MDBOOK} {VERSION} into {} (once, some minutes)", shown(&util::root(), &tools));
    let mut install = cargo::command();
    install.args(["install", MDBOOK, "--version", VERSION, "--locked", "--debug", "--force", "--root"]).arg(&tools);
    // Without its server, which is most of what it depends on.
    install.args(["--no-default-features", "--features", "search"]);
    util::run(&mut install).with_context(|| {
        format!(
            "{MDBOOK} {VERSION} could not be built. It comes from cargo's registry, so a network is needed the first \
             time; without one, put the program of this version at {}",
            shown(&util::root(), &program)
        )
    })?;
    Ok(program)
}

/// Documents the crates, apart from other documentation in `target`, and moves that to `into`.
fn rustdoc(target: &Path, into: &Path) -> Result<()> {
    let folder = target.join("tools/rustdoc");
    let made = folder.join("doc");
    if made.exists() {
        fs::remove_dir_all(&made).with_context(|| format!("removing {}", made.display()))?;
    }
    let mut doc = cargo::command();
    doc.args(["doc", "--no-deps", "--lib", "--target-dir"]).arg(&folder);
    for documented in DOCUMENTED {
        doc.args(["--package", documented.package]);
    }
    let features: Vec<_> = DOCUMENTED.iter().map(|it| it.features).filter(|features| !features.is_empty()).collect();
    doc.args(["--features", &features.join(",")]);
    util::run(&mut doc)?;
    fs::rename(&made, into).with_context(|| format!("moving {} to {}", made.display(), into.display()))
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documented_crate_is_there_with_the_features_that_are_asked_for() {
        for Documented { package, features, source } in DOCUMENTED {
            assert!(util::root().join(source).is_file(), "{source}");
            let folder = source.strip_suffix("src/lib.rs").unwrap();
            let manifest = fs::read_to_string(util::root().join(folder).join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{package}\"\n")), "{package} is not in {folder}");
            let feature = features.strip_prefix(package).map(|feature| feature.trim_start_matches('/'));
            assert!(feature.is_none_or(|feature| manifest.contains(&format!("\n{feature} = ["))), "{features}");
        }
    }

    #[test]
    fn a_link_to_the_beginning_of_a_documented_crate_leads_to_its_rustdoc() {
        assert_eq!(rustdoc_of("driver-sdk/src/lib.rs").as_deref(), Some("rustdoc/nook_sdk/index.html"));
        assert_eq!(rustdoc_of("driver-sdk/src/dma.rs"), None);
    }
}
