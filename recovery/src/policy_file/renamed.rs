//! Keys that were renamed: a policy file that still has one is refused with the new name, instead of as unknown.

use toml::de::DeTable;

use super::PolicyError;

/// Old keys, each as a section or a section and a key, and what to write in their place.
const RENAMED: &[(&str, &str, &str)] = &[
    ("take_back", "enabled", "rollback.enabled"),
    ("take_back", "retries", "rollback.retries"),
    ("take_back", "", "[rollback]"),
    ("checkpoint", "method", "rollback.method"),
    ("checkpoint", "", "[rollback]"),
    ("bundles", "taken_back", "bundles.rollbacks"),
];

/// Looks for a renamed key. A text that is no TOML has none: the parser says why.
pub(super) fn check(text: &str) -> Result<(), PolicyError> {
    let Ok(file) = DeTable::parse(text) else { return Ok(()) };
    for &(section, key, new) in RENAMED {
        let Some((name, value)) = file.get_ref().get_key_value(section) else { continue };
        let inner = value.get_ref().as_table().and_then(|table| table.get_key_value(key));
        let found = if key.is_empty() { Some(name) } else { inner.map(|(name, _)| name) };
        if let Some(found) = found {
            let old = if key.is_empty() { format!("[{section}]") } else { format!("{section}.{key}") };
            let line = text[..found.span().start].matches('\n').count() + 1;
            return Err(PolicyError::Renamed { line, old, new });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::PolicyFile;
    use super::*;

    #[test]
    fn every_old_key_is_refused_with_its_line_and_its_new_name() {
        for &(section, key, new) in RENAMED {
            let old = if key.is_empty() { format!("[{section}]") } else { format!("{section}.{key}") };
            let line = if key.is_empty() { String::new() } else { format!("{key} = 1\n") };
            let text = format!("# A file of an older nook.\n\n[{section}]\n{line}");
            let refused = PolicyFile::parse(&text).unwrap_err().to_string();
            let at = if key.is_empty() { 3 } else { 4 };
            assert_eq!(refused, format!("line {at}: `{old}` was renamed: write `{new}`"));
        }
    }

    #[test]
    fn a_new_name_is_a_key_that_exists() {
        for &(_, _, new) in RENAMED {
            let text = match new.split_once('.') {
                Some((section, key)) => format!("[{section}]\n{key} = {{}}"),
                None => new.to_owned(),
            };
            let unknown = PolicyFile::parse(&text).err().is_some_and(|error| error.to_string().contains("unknown"));
            assert!(!unknown, "{new}");
        }
    }

    #[test]
    fn an_old_key_written_with_a_dot_is_found_too() {
        let refused = PolicyFile::parse("take_back.retries = 2").unwrap_err().to_string();
        assert_eq!(refused, "line 1: `take_back.retries` was renamed: write `rollback.retries`");
    }
}
