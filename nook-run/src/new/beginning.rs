//! Which templates projects are made of: SDK and templates change together, and a project may be older than the SDK's
//! tree, or the tree than this command.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use nook_abi::Hex;
use sha2::{Digest, Sha256};

use super::{COMMON, Class, Kind, Language, MAP, SERIAL_MAP};

/// Characters of a hash that are enough.
const LEN: usize = 12;

/// Returns the name and the text of each template.
fn templates() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = Class::value_variants().iter().flat_map(|&class| {
        Language::value_variants().iter().flat_map(move |&language| Kind::of(class, language).templates)
    });
    kinds.chain([COMMON, MAP, SERIAL_MAP]).flatten().map(|&(_, file, text)| (file, text))
}

/// Returns what tells the templates that are built in from those of another version.
pub(crate) fn beginning() -> String {
    let mut hash = Sha256::new();
    for (file, text) in templates() {
        hash.update(file);
        hash.update(text);
    }
    let mut hash = Hex::of(&hash.finalize()).to_string();
    hash.truncate(LEN);
    hash
}

/// Returns whether nook's tree has other templates than this command. A tree that has none at all may be any.
pub(super) fn is_of_another_version(tree: &Path) -> bool {
    let folder = tree.join("nook-run/templates");
    let differs = |(file, text): (&str, &str)| fs::read_to_string(folder.join(file)).map_or(true, |its| its != text);
    folder.is_dir() && templates().any(differs)
}

/// Says what to do about that.
pub(super) fn other_version(tree: &str) -> String {
    format!(
        "the SDK in {tree} is of another version than this nook-run, and may not fit what it makes: build nook-run there \
         (cargo build --release -p nook-run) and begin with that, or name this one's tree with --tree"
    )
}

/// Says that a project, whose Cargo.toml has this text, was made of other templates than this command has, if it says
/// of which it was.
pub(crate) fn made_by_another(cargo_toml: &str) -> Option<String> {
    let mut lines = cargo_toml.lines().map(str::trim).skip_while(|line| *line != "[package.metadata.nook]");
    let line = lines.find_map(|line| line.strip_prefix("beginning"))?;
    let made_of = line.trim_start_matches([' ', '=']).trim_matches('"');
    (made_of != beginning()).then(|| {
        "the project was made by another version of `nook-run new` than this: what the SDK asks of a driver may have \
         changed since (CHANGELOG.md of nook), and `nook-run new` in another folder makes one to compare with"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_of_other_templates_is_known_as_such() {
        let of = |beginning: &str| {
            format!("[package]\nname = \"a\"\n[package.metadata.nook]\nbeginning = \"{beginning}\"\n[workspace]\n")
        };
        assert_eq!(beginning().len(), LEN);
        assert_eq!(made_by_another(&of(&beginning())), None);
        assert!(made_by_another(&of("000000000000")).is_some_and(|says| says.contains("CHANGELOG.md")));
        assert_eq!(made_by_another("[package]\nname = \"a\"\nbeginning = \"b\"\n"), None, "written by hand");
    }

    #[test]
    fn a_tree_with_other_templates_is_known_as_such() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(!is_of_another_version(own));
        let place = tempfile::tempdir().unwrap();
        assert!(!is_of_another_version(place.path()), "it has none");
        fs::create_dir_all(place.path().join("nook-run/templates")).unwrap();
        assert!(is_of_another_version(place.path()));
    }
}
