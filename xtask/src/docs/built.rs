//! The links of pages that were built, checked as a browser follows them: the file must be there, and in it what the
//! link names after `#`.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Returns a line for each link of the pages in `book` that leads nowhere. Pages in its folder `rustdoc` are looked at
/// where links lead to them, and their own links are not: rustdoc checks those.
pub fn broken_links(book: &Path, rustdoc: &str) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    walk(book, &book.join(rustdoc), &mut pages)?;
    let mut places: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let mut broken = Vec::new();
    for page in &pages {
        let html = read(page)?;
        for link in values(&html, &["href", "src"]) {
            if link.contains(':') || link.starts_with("//") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let to = match file {
                "" => page.clone(),
                file => normal(&page.parent().unwrap_or(book).join(file)),
            };
            let there = to.is_file()
                && (place.is_empty() || {
                    if !places.contains_key(&to) {
                        places.insert(to.clone(), values(&read(&to)?, &["id"]).collect());
                    }
                    places[&to].contains(place)
                });
            if !there {
                broken.push(format!("{}: `{link}` leads nowhere", page.strip_prefix(book).unwrap_or(page).display()));
            }
        }
    }
    Ok(broken)
}

fn read(page: &Path) -> Result<String> {
    fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))
}

fn walk(folder: &Path, but: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        if path.is_dir() && path != but {
            walk(&path, but, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "html") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(())
}

/// Returns the values of attributes with these names, quoted as mdbook and rustdoc quote them.
fn values(html: &str, names: &[&str]) -> impl Iterator<Item = String> {
    let tags = html.split('<').skip(1).filter_map(|rest| rest.split('>').next());
    tags.flat_map(|tag| names.iter().filter_map(move |name| Some((tag, tag.find(&format!(" {name}=\""))?, *name)))).map(
        |(tag, at, name)| {
            let value = tag[at + name.len() + 3..].split('"').next().unwrap_or_default();
            value.replace("&amp;", "&").replace("&#x27;", "'")
        },
    )
}

/// Returns the path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => _ = path.pop(),
            component => path.push(component),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_broken_if_the_file_or_the_place_in_it_is_not_there() {
        let book = std::env::temp_dir().join(format!("nook-xtask-built-{}", std::process::id()));
        let page = |path: &str, text: &str| {
            let file = book.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        page("index.html", r##"<a href="docs/a.html#one">1</a> <a class="x" href="#top">2</a> <img src="no.svg">"##);
        page(
            "docs/a.html",
            r#"<h1 id="one">1</h1> <a href="../index.html">2</a> <a href="https://example.org/x">3</a>"#,
        );
        page("docs/b.html", r##"<a href="a.html#two">1</a> <a href="../rustdoc/sdk.html#it">2</a> href="gone" <b>"##);
        page("rustdoc/sdk.html", r#"<h1 id="it">1</h1> <a href="not-looked-at.html">2</a>"#);
        let broken = broken_links(&book, "rustdoc").unwrap();
        fs::remove_dir_all(&book).unwrap();
        let expected = [
            "docs/b.html: `a.html#two` leads nowhere",
            "index.html: `#top` leads nowhere",
            "index.html: `no.svg` leads nowhere",
        ];
        assert_eq!(broken, expected);
    }
}
