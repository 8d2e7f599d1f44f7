//! `nook-run build`: the crate of a driver, in whatever repository, becomes the files that run.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use nook_build::driver::{Built, Driver};
use nook_build::{module, toolchain};

use crate::{drivers, files, new};

/// `nook-run build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The folder of a driver's crate: the one with its Cargo.toml.
    pub dir: PathBuf,
    /// Where the files go; `drivers` in the crate's target folder if nothing is said.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Builds the driver and returns what is to be printed. Nothing is written into the folder for the files unless all of
/// them were built and this host would run the module.
///
/// # Errors
/// If the folder holds no driver's crate, if it does not compile (cargo has told that then), if this host refuses what
/// comes out, or if the files cannot be written.
pub fn text(args: &BuildArgs) -> Result<String> {
    build(args).map_err(|error| explained(error, &args.dir))
}

/// Adds to what failed that the project is of another version, if it is.
fn explained(error: Error, dir: &Path) -> Error {
    let project = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    match new::made_by_another(&project) {
        Some(why) => error.context(why),
        None => error,
    }
}

fn build(args: &BuildArgs) -> Result<String> {
    let driver = Driver::find(&args.dir)?;
    let toolchain = toolchain::find()?;
    let beside = driver.package.target_dir.with_file_name("drivers");
    let out = args.out.as_deref().unwrap_or(&beside);
    // An error now is better than one after minutes of compiling.
    inside(out, |out| Ok(files::draft(&out.join("driver.wasm")).map(|_| ())?))?;
    let built = driver.build(&toolchain, check)?;
    inside(out, |out| keep(&built, out))
}

/// Checks that this host would run the module.
fn check(file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    match module::class(&bytes)? {
        "filter" => drivers::load_filter(file).map(|_| ()),
        _ => drivers::load(file, drivers::WASI).map(|_| ()),
    }
}

/// Puts all files of a driver into the folder. If one of them cannot be made, or something else than a file has its
/// name, none is replaced.
fn keep(built: &Built, out: &Path) -> Result<String> {
    let native = built.native.iter().map(|(file, ending)| (file, *ending));
    let mut files = Vec::new();
    for (from, ending) in [(&built.module, "wasm")].into_iter().chain(native) {
        let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        let path = out.join(format!("{}.{ending}", built.name));
        if path.exists() && !path.is_file() {
            bail!("{} is there, and is not a file", path.display());
        }
        let mut file = files::draft(&path)?;
        file.write_all(&bytes)?;
        files.push((file, path, bytes.len()));
    }
    // One of an earlier build is another driver's.
    let other = out.join(format!("{}.mpk", built.name));
    if files.iter().all(|(_, path, _)| *path != other) && other.is_file() {
        fs::remove_file(&other).with_context(|| format!("removing {}", other.display()))?;
    }
    let mut text = String::new();
    for (file, path, len_bytes) in files {
        file.persist(&path)?;
        writeln!(text, "{} {len_bytes} bytes", path.display())?;
    }
    Ok(text)
}

/// Makes a folder and does something in it. If nothing is in it afterwards, what was made of its path goes again.
fn inside<T>(folder: &Path, act: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let missing: Vec<_> = folder.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.exists()).collect();
    let outcome = fs::create_dir_all(folder).map_err(Error::from).and_then(|()| act(folder));
    for made in missing {
        // One that has something in it stays.
        let _ = fs::remove_dir(made);
    }
    outcome.with_context(|| format!("cannot make files in {}: name another folder with --out", folder.display()))
}
