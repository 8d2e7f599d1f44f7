//! A driver's crate, in nook's repository or in another, and the forms in which it is built.

use crate::compile::{self, Package};
use crate::toolchain::Toolchain;
use crate::{cargo, command, module};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a driver's crate depends on.
const SDK: &str = "nook-sdk";
/// Where it lies in nook's source tree.
const SDK_DIR: &str = "driver-sdk";
/// Other crates of nook's that a driver may name, or reaches through the SDK, and where they lie.
const OTHERS: [(&str, &str); 2] = [("nook-abi", "abi"), ("nook-regs", "hw/regs")];
/// Where the driver's side of `--isolation process` lies.
const GUEST_DIR: &str = "isolation/process/guest";

/// A driver's crate, and where its SDK comes from.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The crate.
    pub package: Package,
    /// Whether another crate can be linked with its library, as its program is.
    links: bool,
    /// The source tree that holds the SDK of the crate. Its other parts are taken from there too, whatever this program
    /// was built from: for cargo a crate from two places is two crates, and a driver for one SDK is none for the other.
    nook: PathBuf,
    /// The URL of the repository from which cargo took that tree; `None` if the crate names a folder.
    git: Option<String>,
    /// The Cargo.lock that holds for the crate, if it has one.
    lock: PathBuf,
}

/// What was built of a driver.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its name in the manifest: that of its files.
    pub name: String,
    /// The module.
    pub module: PathBuf,
    /// Its forms for this machine, each with the ending of its file: the shared object, the program, and where there
    /// are protection keys, the object for a domain. A filter has none.
    pub native: Vec<(PathBuf, &'static str)>,
}

/// Writes a string as TOML has it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

impl Driver {
    /// Looks at the crate in this folder; nothing is compiled yet.
    ///
    /// # Errors
    /// If there is no crate, or one that cannot be a driver.
    pub fn find(dir: &Path) -> Result<Driver> {
        let dir = fs::canonicalize(dir).with_context(|| format!("there is no folder {}", dir.display()))?;
        let manifest = dir.join("Cargo.toml");
        ensure!(manifest.is_file(), "{} has no Cargo.toml: name the folder of a driver's crate", dir.display());
        let host = cargo::host_triple()?;
        let mut cargo = cargo::command(&dir);
        let metadata = cargo::metadata(&mut cargo, &["--filter-platform", &host])?;
        Driver::of(&metadata, dir, manifest)
    }

    fn of(metadata: &Value, dir: PathBuf, manifest: PathBuf) -> Result<Driver> {
        let packages = cargo::list(&metadata["packages"]);
        let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
        let at = |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(&*manifest);
        let package = packages.iter().find(at).with_context(|| {
            format!("{} is a workspace without a package: name the folder of one driver's crate", manifest.display())
        })?;
        let name = text(package, "name").context("cargo metadata: a package without name")?;
        let types = cargo::list(&package["targets"]).iter().map(|target| &target["crate_types"]);
        let types = types.into_iter().find(|types| has(types, "cdylib")).with_context(|| {
            let manifest = manifest.display();
            format!("{name} is no driver: put `crate-type = [\"cdylib\", \"rlib\"]` under [lib] in {manifest}")
        })?;
        let id = package["id"].as_str();
        let node = cargo::list(&metadata["resolve"]["nodes"]).iter().find(|node| node["id"].as_str() == id);
        let needs = node.map_or(&[][..], |node| cargo::list(&node["deps"]));
        let needed = |package: &&Value| needs.iter().any(|dep| dep["pkg"] == package["id"]);
        let sdk = packages.iter().find(|package| package["name"] == SDK && needed(package));
        let sdk = sdk.with_context(|| format!("{name} is no driver: it does not depend on {SDK}"))?;
        let place = text(sdk, "manifest_path").context("cargo metadata: a package without manifest_path")?;
        let nook = Path::new(&place).parent().and_then(|dir| dir.to_str()?.strip_suffix(SDK_DIR)).map(PathBuf::from);
        let nook = nook.filter(|nook| nook.join(GUEST_DIR).is_dir()).with_context(|| {
            format!(
                "{name} depends on the {SDK} at {place}, which is not in nook's source tree: a driver's program is made of \
                 other parts of that tree, so depend on {SDK} by `git`, or by `path` in a clone"
            )
        })?;
        let git = match sdk["source"].as_str() {
            None => None,
            Some(source) => Some(git_url(source).with_context(|| {
                format!("the {SDK} of {name} is from {source}: depend on it by `git`, or by `path` in a clone of nook")
            })?),
        };
        let folder =
            |key: &str| text(metadata, key).map(PathBuf::from).with_context(|| format!("cargo metadata: no {key}"));
        let (target_dir, lock) =
            (folder("target_directory")?.join("nook"), folder("workspace_root")?.join("Cargo.lock"));
        let links = has(types, "rlib") || has(types, "lib");
        Ok(Driver { package: Package { dir, manifest, name, target_dir }, links, nook, git, lock })
    }

    /// Compiles the driver in each of its forms. `check` sees the module before more is compiled.
    ///
    /// # Errors
    /// If it does not compile, which cargo has told then, if it is no driver, or if `check` refuses it.
    pub fn build(&self, toolchain: &Toolchain, check: impl FnOnce(&Path) -> Result<()>) -> Result<Built> {
        let name = &self.package.name;
        eprintln!("compiling {name} to WebAssembly");
        let module = compile::module(&self.package, toolchain, &[])?;
        let bytes = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        let driver = module::driver_name(&bytes).with_context(|| {
            format!("{name} is no driver: it compiles, but `nook_driver!` (or `nook_filter!`) is not in its lib.rs")
        })?;
        check(&module)?;
        let native = match module::class(&bytes)? {
            "filter" => Vec::new(),
            class => {
                eprintln!("compiling {name} for this machine");
                let object = compile::object(&self.package)?;
                eprintln!("compiling {name} as a program");
                let program = compile::program(&self.program(class)?)?;
                let mut forms = vec![(object, "so"), (program, "elf")];
                if cfg!(target_arch = "x86_64") {
                    eprintln!("compiling {name} for a protection domain");
                    match compile::domain_object(&self.package) {
                        Ok(object) => forms.push((object, "mpk")),
                        // It was written before there were any, or needs the standard library.
                        Err(error) => eprintln!(
                            "{name} gets no form for --isolation mpk, which takes `#![cfg_attr(not(test), no_std)]` at the \
                             top of its lib.rs: {error:#}"
                        ),
                    }
                }
                forms
            }
        };
        Ok(Built { name: driver, module, native })
    }

    /// Writes the package of the driver's program, which is for `--isolation process`, below the target folder. It
    /// consists of the driver and its side of the channel.
    fn program(&self, class: &str) -> Result<Package> {
        ensure!(
            self.links,
            "{} has no library for its program, which --isolation process runs, to be linked with: put `crate-type = \
             [\"cdylib\", \"rlib\"]` under [lib] in {}",
            self.package.name,
            self.package.manifest.display()
        );
        let name = format!("{}-process", self.package.name);
        let dir = self.package.target_dir.join("programs").join(&name);
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let mut manifest = format!(
            "# Written by nook, each time.\n[package]\nname = {name}\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [[bin]]\nname = {name}\npath = \"main.rs\"\n\n\
             [dependencies]\ndriver = {{ package = {package}, path = {driver} }}\n\
             nook-process-guest = {{ path = {guest} }}\n\n[workspace]\n",
            name = quoted(&name),
            package = quoted(&self.package.name),
            driver = path(&self.package.dir),
            guest = path(&self.nook.join(GUEST_DIR)),
        );
        if let Some(url) = &self.git {
            manifest += &format!("\n[patch.{}]\n", quoted(url));
            for (name, dir) in [(SDK, SDK_DIR)].into_iter().chain(OTHERS) {
                manifest += &format!("{name} = {{ path = {} }}\n", path(&self.nook.join(dir)));
            }
        }
        let main = format!(
            "#![forbid(unsafe_code)]\n#![no_main]\n\n\
             nook_process_guest::driver_process!(class: {class}, driver::NookDriver, driver::MANIFEST);\n"
        );
        command::write_if_changed(&dir.join("Cargo.toml"), manifest.as_bytes())?;
        command::write_if_changed(&dir.join("main.rs"), main.as_bytes())?;
        let [own, nook] =
            [&self.lock, &self.nook.join("Cargo.lock")].map(|file| fs::read_to_string(file).unwrap_or_default());
        command::write_if_changed(&dir.join("Cargo.lock"), both_locks(&own, &nook).as_bytes())?;
        Ok(Package { name, manifest: dir.join("Cargo.toml"), ..self.package.clone() })
    }
}

/// Returns the URL in a package's `source`, which is `git+URL?branch=main#commit` of one from a repository.
fn git_url(source: &str) -> Option<String> {
    let place = source.strip_prefix("git+")?;
    place.split(['?', '#']).next().map(str::to_owned)
}

/// Writes a Cargo.lock with the versions that the driver's author chose, and for what its crate does not need, those
/// that nook was tested with. Cargo takes out what nobody needs.
fn both_locks(own: &str, nook: &str) -> String {
    const PACKAGE: &str = "[[package]]";
    let name = |block: &str| block.lines().find(|line| line.starts_with("name = ")).map(str::to_owned);
    let known: Vec<_> = own.split(PACKAGE).skip(1).map(name).collect();
    let mut blocks = nook.split(PACKAGE);
    let head = blocks.next().unwrap_or_default();
    let mut lock = if own.is_empty() { head } else { own }.trim_end().to_owned() + "\n";
    for block in blocks.filter(|block| !known.contains(&name(block))) {
        lock += &format!("\n{PACKAGE}{}\n", block.trim_end());
    }
    lock
}

fn has(types: &Value, wanted: &str) -> bool {
    cargo::list(types).iter().any(|kind| kind == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns what cargo says of a crate in `/own` with these types, whose SDK is in this folder and from this source.
    /// One folder there is: this repository.
    fn found(types: &[&str], sdk: &str, source: Option<&str>) -> Result<Driver> {
        let metadata = json!({
            "packages": [
                {"id": "own", "name": "own", "manifest_path": "/own/Cargo.toml", "targets": [{"crate_types": types}]},
                {"id": "sdk", "name": "nook-sdk", "manifest_path": format!("{sdk}/Cargo.toml"), "source": source},
            ],
            "resolve": {"nodes": [{"id": "own", "deps": [{"pkg": "sdk"}]}]},
            "target_directory": "/own/target",
            "workspace_root": "/own",
        });
        Driver::of(&metadata, "/own".into(), "/own/Cargo.toml".into())
    }

    fn sdk() -> String {
        format!("{}/driver-sdk", Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().display())
    }

    fn refused(types: &[&str], sdk: &str, source: Option<&str>) -> String {
        format!("{:#}", found(types, sdk, source).unwrap_err())
    }

    #[test]
    fn a_driver_is_built_with_the_tree_that_its_sdk_is_from() {
        let driver = found(&["cdylib", "rlib"], &sdk(), None).unwrap();
        assert!(driver.nook.join("ARCHITECTURE.md").is_file() && driver.git.is_none() && driver.links);
        assert_eq!(driver.package.target_dir, Path::new("/own/target/nook"));
        let git = found(&["cdylib"], &sdk(), Some("git+file:///clone?branch=a%2Fb#0123")).unwrap();
        assert_eq!((git.git.as_deref(), git.links), (Some("file:///clone"), false));
    }

    #[test]
    fn what_is_no_driver_is_refused_with_what_is_missing() {
        assert!(refused(&["rlib"], &sdk(), None).contains("crate-type"));
        assert!(refused(&["cdylib"], "/elsewhere/driver-sdk", None).contains("not in nook's source tree"));
        assert!(refused(&["cdylib"], "/elsewhere/nook-sdk-0.1.0", None).contains("not in nook's source tree"));
        assert!(refused(&["cdylib"], &sdk(), Some("registry+https://x")).contains("`path` in a clone"));
        let alone = json!({"packages": [], "target_directory": "/own/target"});
        let error = Driver::of(&alone, "/own".into(), "/own/Cargo.toml".into()).unwrap_err();
        assert!(format!("{error:#}").contains("a workspace without a package"), "{error:#}");
    }

    #[test]
    fn a_folder_without_a_crate_is_named() {
        let error = |dir: &str| format!("{:#}", Driver::find(Path::new(dir)).unwrap_err());
        assert!(error("/no/such/folder").contains("there is no folder /no/such/folder"));
        assert!(error("/proc").contains("/proc has no Cargo.toml"));
    }

    #[test]
    fn the_authors_versions_come_before_those_of_nook() {
        let own = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1\"\n";
        let nook =
            "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"2\"\n\n[[package]]\nname = \"b\"\nversion = \"3\"\n";
        let b = "\n[[package]]\nname = \"b\"\nversion = \"3\"\n";
        assert_eq!(both_locks(own, nook), format!("{own}{b}"));
        assert_eq!(both_locks("", nook), nook);
    }

    #[test]
    fn a_path_can_be_any_text() {
        assert_eq!(quoted("/a b/\"c\"\\\n"), r#""/a b/\"c\"\\\u000a""#);
    }
}
