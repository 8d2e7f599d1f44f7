//! Levels at which no module runs, but what the driver's source was compiled to for this machine: mistakes are made in
//! that machine code.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use nook_campaign::{Injection, MachineMistake, MachineSites, ObjectForm};
use nook_mpk::MpkLauncher;
use nook_native::{Level, NativeLauncher};
use nook_process::{ProcessLauncher, Wait};
use nook_runtime::{Driver, Host, LaunchError, Launcher, OwnedManifest};

use crate::cli::Isolation;

/// CPU time after which a trial hangs in whose process the driver runs too, in seconds: a hundred times what one takes.
pub const HANGS_CPU_S: u64 = 4;

/// A driver's object or program.
#[derive(Clone)]
pub struct ObjectFile {
    isolation: Isolation,
    path: PathBuf,
    /// What is in the file.
    pub bytes: Vec<u8>,
}

impl ObjectFile {
    /// Reads what runs at this level beside the driver's file; nothing, if that is the module.
    ///
    /// # Errors
    /// If it is not there, or no campaign can be made at this level.
    pub fn beside(driver: &Path, isolation: Isolation) -> Result<Option<Self>> {
        let ending = match isolation {
            Isolation::Sfi | Isolation::SfiTxn => return Ok(None),
            Isolation::Native | Isolation::Wrapped => "so",
            Isolation::Process => "elf",
            Isolation::Mpk => {
                nook_mpk::supported().context("--isolation mpk")?;
                "mpk"
            }
        };
        let path = driver.with_extension(ending);
        let why = "`nook-run build`, or `cargo xtask drivers` in nook's tree, makes it beside the driver's wasm file";
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}: {why}", path.display()))?;
        Ok(Some(ObjectFile { isolation, path, bytes }))
    }

    /// Whether what the driver does wrong is done to the process that tries it.
    pub fn is_unprotected(&self) -> bool {
        matches!(self.isolation, Isolation::Native | Isolation::Wrapped)
    }

    fn form(&self) -> ObjectForm {
        if self.isolation == Isolation::Process { ObjectForm::Program } else { ObjectForm::Shared }
    }

    /// Returns the mistake that is drawn from a seed.
    ///
    /// # Errors
    /// If none can be made.
    pub fn mistake(&self, seed: u64) -> Result<MachineMistake> {
        Ok(MachineSites::of(&self.bytes, self.form())?.draw(seed)?)
    }

    /// Makes instances of what it has become.
    ///
    /// # Errors
    /// If that is not the driver any more, or this machine cannot run it.
    pub fn launcher(&self, bytes: Vec<u8>, manifest: &OwnedManifest) -> Result<Arc<dyn Launcher + Sync>> {
        let native = |bytes, level| NativeLauncher::of(&self.path, bytes, manifest, level);
        Ok(match self.isolation {
            Isolation::Process => {
                Arc::new(ProcessLauncher::of(&self.path, bytes, manifest, Wait::Futex)?.on_virtual_time())
            }
            Isolation::Mpk => Arc::new(MpkLauncher::of(&self.path, bytes, manifest)?.on_virtual_time()),
            Isolation::Wrapped => Arc::new(native(bytes, Level::Wrapped)?),
            _ => Arc::new(native(bytes, Level::Native)?),
        })
    }
}

/// A mistake that is there in the first instance; if it is transient, in no other.
pub struct FirstInstance {
    mistaken: Arc<dyn Launcher + Sync>,
    pristine: Arc<dyn Launcher + Sync>,
    injection: Arc<Injection>,
}

impl FirstInstance {
    pub fn new(
        mistaken: Arc<dyn Launcher + Sync>,
        pristine: Arc<dyn Launcher + Sync>,
        injection: Arc<Injection>,
    ) -> Self {
        FirstInstance { mistaken, pristine, injection }
    }
}

impl Launcher for FirstInstance {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        self.injection.launched();
        if !self.injection.is_active(u64::MAX) {
            return self.pristine.launch(host);
        }
        // It was seen before that it is reached.
        self.injection.reached();
        self.mistaken.launch(host)
    }

    fn isolation(&self) -> &'static str {
        self.pristine.isolation()
    }
}
