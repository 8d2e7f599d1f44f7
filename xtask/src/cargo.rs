//! Calling cargo, and the few facts of `cargo metadata` that the other modules use.

use crate::util;
use anyhow::{Context, Result, bail};
use nook_build::cargo::{artifacts, host_triple, list};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// In which kind of build a dependency takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the crate itself.
    Normal,
    /// In its build script.
    Build,
    /// In its tests, benches and examples only.
    Dev,
}

/// One line of a `[dependencies]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependency {
    /// The package's own name, not what it is renamed to.
    pub name: String,
    /// What this package calls it: its own name, unless it is renamed.
    pub named: String,
    /// Which table it stands in.
    pub kind: Kind,
}

/// One package of the workspace.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Its name in Cargo.toml.
    pub name: String,
    /// Its folder, relative to the repository, with `/`.
    pub dir: String,
    /// What it asks for by name.
    pub dependencies: Vec<Dependency>,
    /// Whether one of its targets is a `cdylib`: what a driver is.
    pub has_cdylib: bool,
}

/// Every package that a workspace package reaches through normal and build dependencies, by names.
pub type Reach = BTreeMap<String, BTreeSet<String>>;

/// The lists of features with which packages are compiled: more than one if a package is needed twice.
pub type Features = BTreeMap<String, BTreeSet<String>>;

/// Returns the workspace's packages (`cargo metadata --no-deps`: no network, a tenth of a second).
pub fn packages() -> Result<Vec<Package>> {
    let metadata = metadata(&["--no-deps"])?;
    let root = metadata["workspace_root"].as_str().context("cargo metadata names no workspace_root")?;
    list(&metadata["packages"]).iter().map(|package| parse_package(package, Path::new(root))).collect()
}

/// Returns what each workspace package reaches on this host's platform; other platforms' crates are not downloaded for
/// it.
pub fn reach() -> Result<Reach> {
    let host = host_triple()?;
    Ok(parse_reach(&metadata(&["--filter-platform", &host])?))
}

/// Returns the packages from elsewhere that are downloaded for this host's platform: their names and the folders of
/// their sources.
pub fn foreign_sources() -> Result<Vec<(String, PathBuf)>> {
    let metadata = metadata(&["--filter-platform", &host_triple()?])?;
    let foreign = list(&metadata["packages"]).iter().filter(|package| package["source"].is_string());
    let place = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some((package["name"].as_str()?.to_string(), manifest.parent()?.join("src")))
    };
    Ok(foreign.filter_map(place).filter(|(_, source)| source.is_dir()).collect())
}

/// Returns the features with which each package of the workspace's builds is compiled, as `name vX.Y.Z` and a list,
/// with or without what tests and benches ask for besides; xtask is left out.
pub fn features(with_dev: bool) -> Result<Features> {
    let mut cargo = command();
    let edges = if with_dev { "normal,build,dev" } else { "normal,build" };
    cargo.args(["tree", "--workspace", "--exclude", "xtask", "--edges", edges]);
    cargo.args(["--prefix", "none", "--format", "{p}|{f}"]);
    Ok(parse_features(&util::output(&mut cargo)?))
}

fn parse_features(tree: &str) -> Features {
    let mut found = Features::new();
    for (package, features) in tree.lines().filter_map(|line| line.split_once('|')) {
        // Behind the version may stand where it comes from, and behind the features that it was listed before.
        let package = package.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let features = features.trim_end_matches("(*)").trim_end();
        found.entry(package).or_default().insert(features.to_string());
    }
    found
}

/// Returns a cargo command in the repository. It reads nothing: with a terminal or without, a test finds the same.
pub fn command() -> Command {
    let mut command = nook_build::cargo::command(&util::root());
    command.stdin(Stdio::null());
    command
}

/// Which packages every command is about, and how they are built: all, in one profile, with the same features, so that
/// the wasm engine is compiled once. xtask is apart; it has its own profile.
pub const WORKSPACE: &[&str] = &["--release", "--workspace", "--exclude", "xtask"];

/// Builds the workspace's program of this name and says where it is.
pub fn binary(name: &str) -> Result<PathBuf> {
    program(WORKSPACE, "--bin", name)
}

/// What [`demo_binary`] builds: the command alone, without its optional parts and what they make the engine have, in a
/// profile that does not optimise what runs once.
const DEMO: &[&str] = &["--profile", "demo", "--package", "nook-run", "--no-default-features"];

/// Builds `nook-run` as the demo needs it, in less than half the time that the workspace's takes, and says where it is.
pub fn demo_binary() -> Result<PathBuf> {
    program(DEMO, "--bin", "nook-run")
}

/// Builds the workspace's example of this name and says where it is.
pub fn example(name: &str) -> Result<PathBuf> {
    program(WORKSPACE, "--example", name)
}

/// Builds the workspace's tests of this name and says where the program is.
pub fn tests(name: &str) -> Result<PathBuf> {
    let mut build = command();
    let files = artifacts(build.arg("build").args(WORKSPACE).args(["--test", name]), None, &[])?;
    let is_it = |file: &PathBuf| {
        let program = file.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        program.strip_prefix(name).is_some_and(|rest| rest.starts_with('-') && !rest.contains('.'))
    };
    files.into_iter().rfind(is_it).with_context(|| format!("`{}` made no tests {name}", util::shown(&build)))
}

fn program(packages: &[&str], kind: &str, name: &str) -> Result<PathBuf> {
    let mut build = command();
    let files = artifacts(build.arg("build").args(packages).args([kind, name]), None, &[])?;
    let binary = files.into_iter().rfind(|file| file.file_name().is_some_and(|file| file == name));
    binary.with_context(|| format!("`{}` made no {name}", util::shown(&build)))
}

fn metadata(args: &[&str]) -> Result<Value> {
    nook_build::cargo::metadata(&mut command(), args)
}

fn parse_package(package: &Value, root: &Path) -> Result<Package> {
    let text = |key: &str| package[key].as_str().with_context(|| format!("cargo metadata: a package without {key}"));
    let manifest = Path::new(text("manifest_path")?);
    let Some(dir) = manifest.parent().and_then(|dir| dir.strip_prefix(root).ok()) else {
        bail!("the package at {} lies outside the workspace at {}", manifest.display(), root.display());
    };
    let dependencies = list(&package["dependencies"]).iter().map(|dependency| {
        let name = dependency["name"].as_str().context("cargo metadata: a dependency without name")?;
        let named = dependency["rename"].as_str().unwrap_or(name);
        Ok(Dependency { name: name.to_string(), named: named.to_string(), kind: kind(&dependency["kind"]) })
    });
    let crate_types = list(&package["targets"]).iter().flat_map(|target| list(&target["crate_types"]));
    Ok(Package {
        name: text("name")?.to_string(),
        dir: dir.to_string_lossy().into_owned(),
        dependencies: dependencies.collect::<Result<_>>()?,
        has_cdylib: crate_types.into_iter().any(|kind| kind == "cdylib"),
    })
}

fn parse_reach(metadata: &Value) -> Reach {
    let names: BTreeMap<&str, &str> = list(&metadata["packages"])
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let taken = list(&node["deps"]).iter().filter(|dep| {
            // A dependency counts if any of the tables that name it is not [dev-dependencies].
            list(&dep["dep_kinds"]).iter().any(|entry| kind(&entry["kind"]) != Kind::Dev)
        });
        let taken = taken.filter_map(|dep| dep["pkg"].as_str()).collect();
        edges.insert(node["id"].as_str().unwrap_or_default(), taken);
    }
    let members = list(&metadata["workspace_members"]).iter().filter_map(Value::as_str);
    members
        .map(|member| {
            let mut seen = BTreeSet::from([member]);
            let mut open = vec![member];
            while let Some(id) = open.pop() {
                for next in edges.get(id).into_iter().flatten() {
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            seen.remove(member);
            let name = |id: &str| names.get(id).copied().unwrap_or(id).to_string();
            (name(member), seen.into_iter().map(name).collect())
        })
        .collect()
}

fn kind(value: &Value) -> Kind {
    match value.as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_package_has_its_folder_its_dependencies_and_whether_it_is_a_driver() {
        let package = json!({
            "name": "e1000-wasm",
            "manifest_path": "/r/drivers/e1000-wasm/Cargo.toml",
            "dependencies": [
                {"name": "nook-sdk", "kind": null}, {"name": "cc", "kind": "build"}, {"name": "e1000-model", "kind": "dev"}
            ],
            "targets": [{"crate_types": ["cdylib", "rlib"]}],
        });
        let package = parse_package(&package, Path::new("/r")).unwrap();
        assert_eq!(package.dir, "drivers/e1000-wasm");
        assert!(package.has_cdylib);
        let kinds: Vec<_> = package.dependencies.iter().map(|d| (d.name.as_str(), d.kind)).collect();
        assert_eq!(kinds, [("nook-sdk", Kind::Normal), ("cc", Kind::Build), ("e1000-model", Kind::Dev)]);
    }

    #[test]
    fn what_is_reached_goes_through_normal_and_build_dependencies_but_not_through_dev() {
        let edge = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "workspace_members": ["id-a"],
            "packages": [
                {"id": "id-a", "name": "a"}, {"id": "id-b", "name": "b"}, {"id": "id-c", "name": "c"},
                {"id": "id-d", "name": "d"}, {"id": "id-e", "name": "e"}
            ],
            "resolve": {"nodes": [
                {"id": "id-a", "deps": [edge("id-b", Value::Null), edge("id-d", json!("dev"))]},
                {"id": "id-b", "deps": [edge("id-c", json!("build")), edge("id-a", Value::Null)]},
                {"id": "id-c", "deps": [edge("id-e", json!("dev"))]},
            ]},
        });
        let reached = &parse_reach(&metadata)["a"];
        assert_eq!(reached.iter().map(String::as_str).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn a_package_has_every_list_of_features_that_it_is_compiled_with() {
        let tree =
            "memchr v2.8.3|alloc,std\nserde v1.0.0 (proc-macro)|default\nmemchr v2.8.3|default,std (*)\nlibc v0.2.0|\n";
        let found = parse_features(tree);
        assert_eq!(found["memchr v2.8.3"].iter().map(String::as_str).collect::<Vec<_>>(), ["alloc,std", "default,std"]);
        assert!(found.contains_key("serde v1.0.0") && found["libc v0.2.0"].contains(""));
    }
}
