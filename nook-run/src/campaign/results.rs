//! A campaign's folder: what is tried (`campaign.json`), and a line for each trial (`results.jsonl`), to which is only
//! added. So a campaign that was stopped goes on where it was.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nook_campaign::{Campaign, Record};
use serde::{Deserialize, Serialize};

use crate::files::replace;

/// What trials follow from. Results of others are not put together with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the driver's file.
    pub driver_sha256: String,
    /// From its manifest.
    pub driver: String,
    /// Of the register map, as `nook-run map export` would write it.
    pub registers_sha256: String,
    /// As `--isolation` calls it.
    pub isolation: String,
    /// The policy's text, if one was named.
    pub policy: Option<String>,
    /// The version of nook-run.
    pub version: String,
    /// Of the program that tries: another build judges otherwise, perhaps.
    pub program_sha256: String,
    #[serde(flatten)]
    pub campaign: Campaign,
}

impl About {
    /// Returns what differs, in words.
    fn differences(&self, other: &About) -> Vec<&'static str> {
        let rows = [
            ("driver", (&self.driver, &self.driver_sha256) != (&other.driver, &other.driver_sha256)),
            ("register map", self.registers_sha256 != other.registers_sha256),
            ("isolation", self.isolation != other.isolation),
            ("policy", self.policy != other.policy),
            ("seed", self.campaign.seed != other.campaign.seed),
            ("choice of faults", self.campaign.kinds != other.campaign.kinds),
            ("build of nook-run", (&self.version, &self.program_sha256) != (&other.version, &other.program_sha256)),
        ];
        rows.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// What `campaign.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Trials that were asked for, in all shards together: more may be asked for later.
    pub trials: u64,
    #[serde(flatten)]
    pub about: About,
}

/// Results by the trial's number.
pub type Records = BTreeMap<u64, Record>;

/// A campaign's folder. Nobody else writes to it meanwhile.
#[derive(Debug)]
pub struct Folder {
    /// The results, locked.
    file: File,
    len_bytes: u64,
    /// What was tried already.
    pub records: Records,
}

const PLAN: &str = "campaign.json";
const RESULTS: &str = "results.jsonl";

/// Reads a folder.
///
/// # Errors
/// If it is none of a campaign, or damaged.
pub fn read(folder: &Path) -> Result<(Plan, Records)> {
    let (records, _) = records(&folder.join(RESULTS))?;
    Ok((plan(&folder.join(PLAN))?, records))
}

fn plan(path: &Path) -> Result<Plan> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not of a campaign", path.display()))
}

/// Returns what was tried, and how many bytes of the file say so.
fn records(path: &Path) -> Result<(Records, u64)> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let mut records = BTreeMap::new();
    // A line that was not finished when the campaign was stopped is tried again.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    for (number, line) in whole.lines().enumerate() {
        let at = || format!("{}:{}", path.display(), number + 1);
        let record = serde_json::from_str(line).with_context(|| format!("{}: not the record of a trial", at()))?;
        put(&mut records, record).with_context(at)?;
    }
    Ok((records, whole.len() as u64))
}

/// Adds what came of a trial, which always comes to the same.
fn put(records: &mut Records, record: Record) -> Result<()> {
    match records.entry(record.trial) {
        Entry::Vacant(place) => {
            place.insert(record);
        }
        Entry::Occupied(there) if *there.get() == record => {}
        Entry::Occupied(there) => bail!(
            "trial {} came to `{}` here and to `{}` elsewhere: play it again with --trial, and remove the results of \
             which it is not true",
            record.trial,
            record.transient.outcome.name(),
            there.get().transient.outcome.name()
        ),
    }
    Ok(())
}

impl Folder {
    /// Opens the folder of this campaign, or begins it.
    ///
    /// # Errors
    /// If there is another campaign in it, somebody writes to it, or it cannot be written.
    pub fn open(folder: &Path, plan: &Plan) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("--out: cannot make the folder {}", folder.display()))?;
        let path = folder.join(RESULTS);
        let cannot = || format!("--out: cannot write {}", path.display());
        let file = OpenOptions::new().append(true).create(true).open(&path).with_context(cannot)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!(
                "--out: another campaign is writing to {}: name another folder, or wait until that one has ended",
                folder.display()
            ),
            // A file system without locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let (records, len_bytes) = records(&path).context("--out")?;
        let trials = check(folder, &plan.about, records.is_empty())?;
        if trials.is_none_or(|trials| trials < plan.trials) {
            let (path, text) = (folder.join(PLAN), serde_json::to_string_pretty(plan).context("the campaign")? + "\n");
            replace(&path, &text).with_context(|| format!("--out: cannot write {}", path.display()))?;
        }
        // What a last line has that was not finished goes.
        file.set_len(len_bytes).with_context(cannot)?;
        Ok(Folder { file, len_bytes, records })
    }

    /// Adds a trial, if it is not there yet.
    ///
    /// # Errors
    /// If it cannot be written, and nothing of it is left then; or if another outcome is there.
    pub fn add(&mut self, record: Record) -> Result<()> {
        if self.records.contains_key(&record.trial) {
            return put(&mut self.records, record);
        }
        let line = serde_json::to_string(&record).context("the record of a trial")? + "\n";
        self.write(|file| file.write_all(line.as_bytes()))?;
        self.len_bytes += line.len() as u64;
        put(&mut self.records, record)
    }

    /// Has something written, or nothing.
    fn write(&mut self, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        if let Err(error) = write(&mut self.file) {
            // If this fails too, the next campaign here takes the fragment away.
            let _ = self.file.set_len(self.len_bytes);
            return Err(error).context("--out: cannot write the results");
        }
        Ok(())
    }
}

/// Returns how many trials were asked for in a folder before, if there is a campaign in it.
fn check(folder: &Path, about: &About, is_empty: bool) -> Result<Option<u64>> {
    let path = folder.join(PLAN);
    if !path.exists() {
        if !is_empty {
            bail!("--out: {} has results, and no {PLAN} that says of what: name another folder", folder.display());
        }
        return Ok(None);
    }
    let there = plan(&path).context("--out")?;
    let differences = there.about.differences(about);
    if !differences.is_empty() {
        bail!(
            "--out: {} holds a campaign with another {}: name another folder, or remove that one",
            folder.display(),
            differences.join(", ")
        );
    }
    Ok(Some(there.trials))
}

/// Reads the folders of shards, which must be of one campaign.
///
/// # Errors
/// If they are not, or contradict each other.
pub fn merge(folders: &[PathBuf]) -> Result<(Plan, Records)> {
    let mut merged: Option<(Plan, Records)> = None;
    for folder in folders {
        let (plan, records) = read(folder).context("--merge")?;
        let Some((all_plan, all)) = &mut merged else {
            merged = Some((plan, records));
            continue;
        };
        let differences = all_plan.about.differences(&plan.about);
        if !differences.is_empty() {
            bail!(
                "--merge: {} and {} are of different campaigns: another {}",
                folders[0].display(),
                folder.display(),
                differences.join(", ")
            );
        }
        all_plan.trials = all_plan.trials.max(plan.trials);
        for record in records.into_values() {
            put(all, record).with_context(|| format!("--merge: {}", folder.display()))?;
        }
    }
    merged.context("--merge: no folder was named")
}

#[cfg(test)]
mod tests {
    use nook_campaign::{Kind, Outcome, Run};

    use super::*;

    fn plan(trials: u64) -> Plan {
        let text = String::from;
        let campaign = Campaign { seed: 1, kinds: vec![Kind::Code] };
        let about = About {
            driver_sha256: text("d"),
            driver: text("e1000"),
            registers_sha256: text("r"),
            isolation: text("sfi"),
            policy: None,
            version: text("1"),
            program_sha256: text("p"),
            campaign,
        };
        Plan { trials, about }
    }

    fn record(trial: u64, outcome: Outcome) -> Record {
        let run = Run { outcome, hits: 1, ..Run::not_activated() };
        let (class, what) = ("branch".to_owned(), "never taken".to_owned());
        let (transient, persistent) = (run.clone(), run);
        Record { trial, kind: Kind::Code, class, what, offset: None, from_start: true, transient, persistent }
    }

    #[test]
    fn two_campaigns_do_not_write_to_one_folder() {
        let place = tempfile::tempdir().unwrap();
        let mut first = Folder::open(place.path(), &plan(2)).unwrap();
        first.add(record(0, Outcome::NoEffect)).unwrap();
        let refused = Folder::open(place.path(), &plan(2)).unwrap_err().to_string();
        assert!(refused.contains("another campaign is writing"), "{refused}");
        first.add(record(1, Outcome::NoEffect)).unwrap();
        drop(first);
        assert_eq!(Folder::open(place.path(), &plan(2)).unwrap().records.len(), 2);
    }

    #[test]
    fn another_build_of_nook_and_another_register_map_are_another_campaign() {
        let place = tempfile::tempdir().unwrap();
        drop(Folder::open(place.path(), &plan(2)).unwrap());
        let mut other = plan(2);
        other.about.program_sha256 = "q".into();
        other.about.registers_sha256 = "s".into();
        let refused = Folder::open(place.path(), &other).unwrap_err().to_string();
        assert!(refused.contains("another register map, build of nook-run: name another folder"), "{refused}");
        fs::remove_file(place.path().join(PLAN)).unwrap();
        fs::write(place.path().join(RESULTS), serde_json::to_string(&record(0, Outcome::Recovered)).unwrap() + "\n")
            .unwrap();
        let refused = Folder::open(place.path(), &plan(2)).unwrap_err().to_string();
        assert!(refused.contains("has results, and no campaign.json"), "{refused}");
    }

    #[test]
    fn a_line_that_was_not_finished_is_taken_away() {
        let place = tempfile::tempdir().unwrap();
        Folder::open(place.path(), &plan(2)).unwrap().add(record(0, Outcome::NoEffect)).unwrap();
        let path = place.path().join(RESULTS);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.clone() + &whole[..20]).unwrap();
        Folder::open(place.path(), &plan(2)).unwrap().add(record(1, Outcome::NoEffect)).unwrap();
        assert_eq!(read(place.path()).unwrap().1.into_keys().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn nothing_is_left_of_a_trial_that_cannot_be_written_whole() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), &plan(2)).unwrap();
        folder.add(record(0, Outcome::NoEffect)).unwrap();
        let full = |file: &mut File| file.write_all(b"{\"trial\":1,").and(Err(io::ErrorKind::StorageFull.into()));
        assert!(folder.write(full).unwrap_err().to_string().contains("cannot write the results"));
        // There is room again.
        folder.add(record(1, Outcome::NoEffect)).unwrap();
        assert_eq!(read(place.path()).unwrap().1.len(), 2);
    }

    #[test]
    fn shards_that_contradict_each_other_are_refused_and_what_is_asked_for_is_the_most_that_was() {
        let place = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| place.path().join(name));
        for (path, trials, of) in [
            (&a, 3, vec![record(0, Outcome::NoEffect), record(1, Outcome::Recovered)]),
            (&b, 9, vec![record(1, Outcome::Recovered), record(2, Outcome::Refused)]),
            (&c, 3, vec![record(1, Outcome::Undetected)]),
        ] {
            let mut folder = Folder::open(path, &plan(trials)).unwrap();
            of.into_iter().for_each(|record| folder.add(record).unwrap());
        }
        let (merged, records) = merge(&[a.clone(), b.clone()]).unwrap();
        assert_eq!((merged.trials, records.len()), (9, 3));
        let refused = format!("{:#}", merge(&[a, b, c]).unwrap_err());
        assert!(refused.contains("trial 1 came to `undetected` here and to `recovered` elsewhere"), "{refused}");
    }
}
