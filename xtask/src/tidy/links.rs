//! Links between documents: what a relative link names must exist.

use super::Violation;

/// Checks the relative links of one Markdown file. `exists` answers for paths relative to the repository.
pub fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, target) in targets(text) {
        let file = target.split(['#', '?']).next().unwrap_or_default();
        // `#section` is this file; a scheme leads out of the repository, where we do not look.
        if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
            continue;
        }
        let resolved = resolve(path, file);
        if !resolved.as_deref().is_some_and(|file| file.is_empty() || exists(file)) {
            found.push(Violation {
                path: path.to_string(),
                line,
                rule: "links",
                advice: format!("`{target}` leads nowhere; correct the link or add the file"),
            });
        }
    }
    found
}

/// The targets of inline links `[..](target)` and definitions `[..]: target`, with their lines; code is skipped.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let line = without_code(line);
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:")).map(|(_, to)| to);
        for target in inline.chain(definition) {
            // A title in quotes may follow the target.
            if let Some(target) = target.split_whitespace().next() {
                found.push((index + 1, target.trim_matches(['<', '>']).to_string()));
            }
        }
    }
    found
}

/// The line without its `code spans`.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The path that a link in `from` names, relative to the repository; `None` if it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = match link.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let there = ["README.md", "docs/security.md", "docs"];
        check(path, text, |file| there.contains(&file)).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_there_is_fine() {
        assert!(broken("README.md", "see [a](docs/security.md#promises) and [b](docs/) and [c](#here)").is_empty());
        assert!(
            broken("docs/security.md", "[up](../README.md), [same](security.md), [top](/README.md \"title\")")
                .is_empty()
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_with_its_line() {
        assert_eq!(broken("README.md", "fine\n[a](docs/absent.md)\n"), [2]);
        assert_eq!(broken("docs/security.md", "[a](README.md)\n\n[b]: absent.md\n"), [1, 3]);
        assert_eq!(broken("README.md", "[a](docs/security.md) then [b](gone.md)"), [1]);
    }

    #[test]
    fn a_link_out_of_the_repository_by_path_is_broken() {
        assert_eq!(broken("README.md", "[a](../elsewhere/README.md)"), [1]);
    }

    #[test]
    fn other_sites_and_code_are_not_followed() {
        assert!(broken("README.md", "[a](https://example.org/x.md) `[b](absent.md)`").is_empty());
        assert!(broken("README.md", "```\n[a](absent.md)\n```\n").is_empty());
    }
}
