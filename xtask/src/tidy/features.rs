//! One compilation of the wasm engine: `cargo build`, the demo, tests and benches must ask for it, and for all that it
//! is made of, with the same features. Otherwise cargo compiles it again for some of them, which takes minutes.

use super::Violation;
use crate::cargo::Features;
use std::collections::BTreeSet;

/// Compares the features with and without dev-dependencies, of the packages that `engine` names.
pub fn check(without_dev: &Features, with_dev: &Features, engine: &BTreeSet<String>) -> Vec<Violation> {
    let differing = without_dev.iter().filter(|(package, features)| {
        let name = package.split(' ').next().unwrap_or_default();
        engine.contains(name) && with_dev.get(*package) != Some(*features)
    });
    differing
        .map(|(package, features)| {
            let list = |features: &BTreeSet<String>| features.iter().cloned().collect::<Vec<_>>().join(" and ");
            let with = with_dev.get(package).map(list).unwrap_or_default();
            Violation {
                path: "Cargo.toml".into(),
                line: 1,
                rule: "features",
                advice: format!(
                    "{package} has features [{}] but with dev-dependencies [{with}], so the engine is compiled twice; \
                     `cargo tree -e features -i` says who asks: make that a dependency",
                    list(features)
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(of: &[(&str, &str)]) -> Features {
        of.iter().map(|(package, list)| (package.to_string(), BTreeSet::from([list.to_string()]))).collect()
    }

    #[test]
    fn a_part_of_the_engine_with_other_features_in_tests_is_a_violation() {
        let engine = BTreeSet::from(["memchr".to_string(), "object".to_string()]);
        let without = features(&[("memchr v2.8.3", "std"), ("object v0.39.1", "elf"), ("regex v1.0.0", "std")]);
        let with = features(&[("memchr v2.8.3", "default,std"), ("object v0.39.1", "elf"), ("regex v1.0.0", "perf")]);
        let found = check(&without, &with, &engine);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].advice.contains("memchr v2.8.3 has features [std]"), "{found:?}");
        assert!(found[0].advice.contains("[default,std]"), "{found:?}");
        assert!(check(&without, &without, &engine).is_empty());
    }
}
