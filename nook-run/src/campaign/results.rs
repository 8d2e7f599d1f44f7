//! A campaign's folder: what is tried (`campaign.json`), and a line for each trial (`results.jsonl`), to which is only
//! added. So a campaign that was stopped goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nook_campaign::{Campaign, Record};
use serde::{Deserialize, Serialize};

/// What trials follow from. Results of others are not put together with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the driver's file.
    pub driver_sha256: String,
    /// From its manifest.
    pub driver: String,
    /// As `--isolation` calls it.
    pub isolation: String,
    /// The policy's text, if one was named.
    pub policy: Option<String>,
    /// The version of nook-run.
    pub version: String,
    #[serde(flatten)]
    pub campaign: Campaign,
}

/// A campaign's folder.
pub struct Folder {
    file: File,
    /// What was tried already.
    pub records: BTreeMap<u64, Record>,
}

const ABOUT: &str = "campaign.json";
const RESULTS: &str = "results.jsonl";

/// Reads a folder.
///
/// # Errors
/// If it is none of a campaign, or damaged.
pub fn read(folder: &Path) -> Result<(About, BTreeMap<u64, Record>)> {
    let path = folder.join(ABOUT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let about = serde_json::from_str(&text).with_context(|| format!("{} is not of a campaign", path.display()))?;
    Ok((about, records(&folder.join(RESULTS))?))
}

fn records(path: &Path) -> Result<BTreeMap<u64, Record>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let mut records = BTreeMap::new();
    // A line that was not finished when the campaign was stopped is tried again.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (number, line) in whole.lines().enumerate() {
        let record: Record = serde_json::from_str(line)
            .with_context(|| format!("{}:{}: not the record of a trial", path.display(), number + 1))?;
        records.insert(record.trial, record);
    }
    Ok(records)
}

impl Folder {
    /// Opens the folder of this campaign, or begins it.
    ///
    /// # Errors
    /// If there is another campaign in it, or it cannot be written.
    pub fn open(folder: &Path, about: &About) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("--out: cannot make the folder {}", folder.display()))?;
        let path = folder.join(ABOUT);
        if path.exists() {
            let (there, _) = read(folder).context("--out")?;
            if there != *about {
                bail!(
                    "--out: {} holds a campaign with another driver, seed, isolation, policy, kind of faults or \
                     version: name another folder, or remove that one",
                    folder.display()
                );
            }
        } else {
            let text = serde_json::to_string_pretty(about).context("the campaign")? + "\n";
            fs::write(&path, text).with_context(|| format!("--out: cannot write {}", path.display()))?;
        }
        let path = folder.join(RESULTS);
        let records = records(&path)?;
        // What a last line has that was not finished goes.
        let whole: String = records.values().map(line).collect::<Result<_>>()?;
        crate::files::replace(&path, &whole).with_context(|| format!("--out: cannot write {}", path.display()))?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("--out: cannot write {}", path.display()))?;
        Ok(Folder { file, records })
    }

    /// Adds a trial.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, record: Record) -> Result<()> {
        self.file.write_all(line(&record)?.as_bytes()).context("cannot write the results")?;
        self.records.insert(record.trial, record);
        Ok(())
    }
}

fn line(record: &Record) -> Result<String> {
    Ok(serde_json::to_string(record).context("the record of a trial")? + "\n")
}

/// Reads the folders of shards, which must be of one campaign.
///
/// # Errors
/// If they are not.
pub fn merge(folders: &[PathBuf]) -> Result<(About, BTreeMap<u64, Record>)> {
    let mut merged: Option<(About, BTreeMap<u64, Record>)> = None;
    for folder in folders {
        let (about, records) = read(folder).context("--merge")?;
        match &mut merged {
            None => merged = Some((about, records)),
            Some((first, all)) if *first == about => all.extend(records),
            Some(_) => bail!("--merge: {} and {} are of different campaigns", folders[0].display(), folder.display()),
        }
    }
    merged.context("--merge: no folder was named")
}
