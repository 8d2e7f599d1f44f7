//! The book has every document: a page that no line of docs/SUMMARY.md names is found by nobody.

use super::Violation;
use crate::docs::pages;

/// Where the book's documents are; others may be in it, and need not.
const DOCUMENTS: &str = "docs/";

/// Checks that the summary names each document of `files`, once.
pub fn check(summary: &str, files: &[String]) -> Vec<Violation> {
    let chapters: Vec<_> = pages::chapters(summary).collect();
    let documents = files
        .iter()
        .filter(|path| path.starts_with(DOCUMENTS) && path.ends_with(".md") && path.as_str() != pages::SUMMARY);
    let wrong = documents.filter_map(|path| {
        match chapters.iter().filter(|chapter| *chapter == path).count() {
            0 => Some("no line names it".to_string()),
            1 => None,
            more => Some(format!("{more} lines name it, and mdbook takes one")),
        }
        .map(|wrong| (path, wrong))
    });
    wrong
        .map(|(path, wrong)| Violation {
            path: pages::SUMMARY.into(),
            line: 1,
            rule: "book",
            advice: format!("{path}: {wrong}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_the_book_lacks_or_has_twice_is_named() {
        let files = ["docs/SUMMARY.md", "docs/a.md", "docs/b.md", "docs/c.svg", "README.md"].map(String::from);
        let advice = |summary: &str| check(summary, &files).into_iter().map(|found| found.advice).collect::<Vec<_>>();
        assert!(advice("- [a](a.md)\n- [b](b.md)\n- [top](../ARCHITECTURE.md)\n").is_empty());
        assert_eq!(advice("- [a](a.md)\n"), ["docs/b.md: no line names it"]);
        assert_eq!(
            advice("- [a](a.md)\n- [b](b.md)\n- [a](a.md)\n"),
            ["docs/a.md: 2 lines name it, and mdbook takes one"]
        );
    }
}
