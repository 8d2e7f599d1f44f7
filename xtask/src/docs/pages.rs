//! The pages of the book, put together: each document that docs/SUMMARY.md names, at its place in the repository, and
//! beside them what they link to.
//!
//! A link from one document to another leads where it led. A source file that is linked to is put there as text, which
//! every browser shows, or is replaced by the crate's rustdoc.

use crate::tidy::links;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Which documents there are, in which order: paths in it are relative to its folder.
pub const SUMMARY: &str = "docs/SUMMARY.md";
/// What it is called where mdbook looks for it.
const STAGED_SUMMARY: &str = "SUMMARY.md";

/// What a browser shows as it is.
const SHOWN: &[&str] = &["svg", "png"];

/// Puts the pages and what they need of the repository at `root` into the folder `into`; `rustdoc_of` says where the
/// book has the rustdoc of a source file, if it has. Returns how many pages there are.
pub fn stage(root: &Path, into: &Path, rustdoc_of: &dyn Fn(&str) -> Option<String>) -> Result<usize> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
    let summary = read(SUMMARY)?;
    let chapters: BTreeSet<String> = chapters(&summary).collect();
    let mut needed = BTreeSet::new();
    let mut place = |link: &Link<'_>| -> Result<String> {
        let Link { page, target, path, heading } = link;
        if chapters.contains(path.as_str()) || path.is_empty() {
            return Ok(relative(page, &page_of(path), heading));
        }
        if let Some(rustdoc) = rustdoc_of(path) {
            return Ok(relative(page, &rustdoc, ""));
        }
        ensure!(
            root.join(path).is_file(),
            "{page}: `{target}` is no file, and the book shows no folders: link to a file"
        );
        let shown = Path::new(path).extension().is_some_and(|it| SHOWN.iter().any(|shown| it == *shown));
        let copy = if shown { path.clone() } else { format!("{path}.txt") };
        needed.insert((path.clone(), copy.clone()));
        Ok(relative(page, &copy, ""))
    };
    write(into, STAGED_SUMMARY, &linked(STAGED_SUMMARY, SUMMARY, &summary, &mut place)?)?;
    for chapter in &chapters {
        let page = page_of(chapter);
        write(into, &page, &linked(&page, chapter, &read(chapter)?, &mut place)?)?;
    }
    for (path, copy) in &needed {
        write(into, copy, &fs::read(root.join(path)).with_context(|| format!("reading {path}"))?)?;
    }
    Ok(chapters.len())
}

/// Returns the documents that the summary names, relative to the repository.
pub fn chapters(summary: &str) -> impl Iterator<Item = String> {
    links::targets(summary).into_iter().filter_map(|(_, target)| links::resolve(SUMMARY, &target))
}

/// A link within the repository.
struct Link<'a> {
    /// The page that it stands in, where it is put.
    page: &'a str,
    /// As it is written.
    target: &'a str,
    /// What it names, relative to the repository; empty for the page itself.
    path: String,
    heading: &'a str,
}

/// Returns the text of the document `path`, with each link within the repository as `place` has it.
fn linked(page: &str, path: &str, text: &str, place: &mut dyn FnMut(&Link<'_>) -> Result<String>) -> Result<String> {
    links::replaced(text, |target| {
        if links::leads_outside(target) {
            return Ok(target.to_string());
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let Some(to) = links::resolve(path, file) else { bail!("{path}: `{target}` leaves the repository") };
        let to = if file.is_empty() { String::new() } else { to };
        place(&Link { page, target, path: to, heading })
    })
}

/// Returns where a document is put. A folder's README is its index, to mdbook.
fn page_of(path: &str) -> String {
    match path.strip_suffix("README.md") {
        Some(folder) => format!("{folder}index.md"),
        None => path.to_string(),
    }
}

/// Returns the link in `page` that leads to `to`, both relative to the book; to the page itself if that is empty.
fn relative(page: &str, to: &str, heading: &str) -> String {
    let folders = page.split('/').count() - 1;
    let file = if to.is_empty() { String::new() } else { format!("{}{to}", "../".repeat(folders)) };
    if heading.is_empty() { file } else { format!("{file}#{heading}") }
}

fn write(into: &Path, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let file = into.join(path);
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(&file, content).with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util;

    /// Stages a repository of these files, and returns what came of it: the file of this name.
    fn staged(name: &str, files: &[(&str, &str)], wanted: &str) -> Result<String> {
        let folder = std::env::temp_dir().join(format!("nook-xtask-pages-{name}-{}", std::process::id()));
        for (path, text) in files {
            write(&folder.join("repository"), path, text).unwrap();
        }
        let rustdoc_of = |path: &str| (path == "sdk/src/lib.rs").then(|| "rustdoc/sdk/index.html".to_string());
        let outcome = stage(&folder.join("repository"), &folder.join("book"), &rustdoc_of);
        let text = outcome.and_then(|_| Ok(fs::read_to_string(folder.join("book").join(wanted))?));
        fs::remove_dir_all(folder).unwrap();
        text
    }

    const REPOSITORY: &[(&str, &str)] = &[
        ("docs/SUMMARY.md", "# Summary\n\n[top](../README.md)\n\n- [a](a.md)\n"),
        ("README.md", "[a](docs/a.md#one) [code](src/b.rs#L3)\n"),
        ("docs/a.md", "# One\n![p](p.svg) [up](../README.md), [here](#one) [sdk](../sdk/src/lib.rs) `[x](y)`\n"),
        ("docs/p.svg", "<svg/>"),
        ("src/b.rs", "fn b() {}\n"),
        ("sdk/src/lib.rs", "\n"),
    ];

    #[test]
    fn a_documents_links_lead_to_pages_to_text_and_to_rustdoc() {
        let page = staged("links", REPOSITORY, "docs/a.md").unwrap();
        let expected = "# One\n![p](../docs/p.svg) [up](../index.md), [here](#one) [sdk](../rustdoc/sdk/index.html) \
                        `[x](y)`\n";
        assert_eq!(page, expected);
        assert_eq!(staged("index", REPOSITORY, "index.md").unwrap(), "[a](docs/a.md#one) [code](src/b.rs.txt)\n");
    }

    #[test]
    fn the_summary_names_the_pages_and_what_they_need_is_beside_them() {
        let summary = staged("summary", REPOSITORY, "SUMMARY.md").unwrap();
        assert_eq!(summary, "# Summary\n\n[top](index.md)\n\n- [a](docs/a.md)\n");
        assert_eq!(staged("text", REPOSITORY, "src/b.rs.txt").unwrap(), "fn b() {}\n");
        assert_eq!(staged("picture", REPOSITORY, "docs/p.svg").unwrap(), "<svg/>");
    }

    #[test]
    fn a_link_to_a_folder_is_an_error_that_names_the_page() {
        let files = [("docs/SUMMARY.md", "- [a](a.md)\n"), ("docs/a.md", "[src](../src)\n"), ("src/b.rs", "")];
        let error = format!("{:#}", staged("folder", &files, "docs/a.md").unwrap_err());
        assert!(error.contains("docs/a.md: `../src` is no file"), "{error}");
    }

    #[test]
    fn every_page_of_this_repository_can_be_put_together() {
        let into = std::env::temp_dir().join(format!("nook-xtask-pages-all-{}", std::process::id()));
        let outcome = stage(&util::root(), &into, &|_| None);
        fs::remove_dir_all(&into).unwrap();
        assert!(outcome.unwrap() > 15);
    }
}
