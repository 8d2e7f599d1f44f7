//! `nook-run campaign`: plants faults by the thousand, one at a time in a process for that, and reports what survived
//! (docs/reliability.md).

pub mod args;
mod children;
mod harm;
mod progress;
mod results;
mod settling;
mod stage;
mod story;
mod trial;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use nook_abi::{Class, Hex};
use nook_campaign::{BATCH, Campaign, Kind, Outcome, Record, Run, Sites, Summary, page};
use nook_recovery::PolicyFile;
use nook_runtime::Wasi;

use self::args::CampaignArgs;
use self::children::Tried;
use self::progress::Progress;
use self::results::{About, Folder};
use self::stage::Stage;
use self::worker::Worker;
use crate::cli::{Isolation, LogFormat};
use crate::files::replace;
use crate::postmortem::lines_in_file;
use crate::run::RunOutcome;
use crate::{drivers, logging, maps, output};

/// Trials of `--quick`.
const QUICK: u64 = 2000;

/// A driver that faults are planted in, and what else trials follow from.
struct Setting {
    file: Vec<u8>,
    about: About,
}

/// Runs a campaign as asked, and writes its report.
///
/// # Errors
/// If it cannot be begun, or a trial cannot be made. What the campaign finds is no error.
pub fn campaign(args: &CampaignArgs) -> Result<RunOutcome> {
    if !args.merge.is_empty() {
        let (about, records) = results::merge(&args.merge)?;
        let mut folder = Folder::open(&args.out, &about)?;
        for record in
            records.into_values().filter(|record| !folder.records.contains_key(&record.trial)).collect::<Vec<_>>()
        {
            folder.add(record)?;
        }
        return report(args, &about, &folder.records, None);
    }
    let setting = setting(args)?;
    if args.worker {
        return worker::serve(ready(args, &setting)?).map(|()| RunOutcome::Done);
    }
    if let Some(number) = args.trial {
        logging::set_up(1, LogFormat::Text);
        return story::tell(&mut ready(args, &setting)?, number, &setting.file).map(|()| RunOutcome::Done);
    }
    // A driver that does not work leaves no folder.
    drop(ready(args, &setting)?);
    let mut folder = Folder::open(&args.out, &setting.about)?;
    try_all(args, &setting, &mut folder)?;
    report(args, &setting.about, &folder.records, Some(&setting.file))
}

fn setting(args: &CampaignArgs) -> Result<Setting> {
    let driver = args.driver.as_ref().context("no driver was named")?;
    let module = drivers::load(driver, Wasi::Refused)?;
    let manifest = module.manifest();
    let model =
        [e1000_regs::DEVICE_82540EM].iter().any(|id| manifest.pci_ids().any(|pci| pci == (e1000_regs::VENDOR, *id)));
    if manifest.class() != Class::Net || !model {
        bail!(
            "a campaign needs an embedded device and an oracle, which there are for network drivers of the Intel 82540EM \
             (8086:100e) only; `{}` is another one",
            manifest.name
        );
    }
    if !matches!(args.isolation, Isolation::Sfi | Isolation::SfiTxn) {
        bail!("--isolation: mistakes are planted in WebAssembly, so a campaign is for sfi+txn and sfi");
    }
    let policy = args.policy.as_ref().map(fs::read_to_string).transpose().context("--policy")?;
    let mut kinds: Vec<Kind> = args.faults.iter().copied().map(Kind::from).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let about = About {
        driver_sha256: Hex::of(&module.sha256()).to_string(),
        driver: manifest.name.clone(),
        isolation: if args.isolation == Isolation::Sfi { "sfi" } else { "sfi+txn" }.into(),
        policy,
        version: env!("CARGO_PKG_VERSION").into(),
        campaign: Campaign { seed: args.seed, kinds },
    };
    let file = fs::read(driver).with_context(|| format!("cannot read {}", driver.display()))?;
    Ok(Setting { file, about })
}

/// Returns what tries faults in this process.
fn ready(args: &CampaignArgs, setting: &Setting) -> Result<Worker> {
    let driver = args.driver.as_ref().context("no driver was named")?;
    let module = drivers::load(driver, Wasi::Refused)?;
    let map = maps::choose(driver, module.manifest(), &args.registers)?;
    let policy = match &args.policy {
        Some(path) => PolicyFile::read(path).with_context(|| format!("--policy: {} is not used", path.display()))?,
        None => PolicyFile::default(),
    };
    let stage = Stage::new(setting.file.clone(), map, args.isolation, &policy)?;
    Worker::new(stage, setting.about.campaign.clone())
}

/// Returns the arguments of the processes that try faults.
fn worker_args(args: &CampaignArgs, about: &About) -> Result<Vec<String>> {
    let text =
        |path: &Path| path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()));
    let driver = args.driver.as_ref().context("no driver was named")?;
    let faults: Vec<_> = args.faults.iter().map(ToString::to_string).collect();
    let mut made =
        vec!["campaign".to_owned(), text(driver)?, "--worker".into(), "--seed".into(), args.seed.to_string()];
    made.extend(["--faults".into(), faults.join(","), "--isolation".into(), about.isolation.clone()]);
    let paths =
        [("--policy", &args.policy), ("--registers", &args.registers.registers), ("--state", &args.registers.state)];
    for (option, path) in paths {
        if let Some(path) = path {
            made.extend([option.to_owned(), text(path)?]);
        }
    }
    Ok(made)
}

/// Tries all faults that were not tried yet.
fn try_all(args: &CampaignArgs, setting: &Setting, folder: &mut Folder) -> Result<()> {
    let trials = if args.quick { QUICK } else { args.trials };
    let (shard, shards) = args.shard;
    let left = |batch: u64, folder: &Folder| -> Vec<u64> {
        let numbers = batch * BATCH..((batch + 1) * BATCH).min(trials);
        numbers.filter(|number| !folder.records.contains_key(number)).collect()
    };
    let batches = (0..trials.div_ceil(BATCH)).filter(|batch| batch % shards == shard - 1);
    let todo: Vec<Vec<u64>> = batches.map(|batch| left(batch, folder)).filter(|numbers| !numbers.is_empty()).collect();
    let count: usize = todo.iter().map(Vec::len).sum();
    if count == 0 {
        return Ok(());
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(processors, usize::from).min(todo.len());
    let (next, progress) = (AtomicU64::new(0), Progress::new(count));
    let (folder, command) = (Mutex::new(folder), worker_args(args, &setting.about)?);
    // What computes are the processes; a thread waits for each.
    let outcome = std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let mut worker = children::Worker::start(&command)?;
            while let Some(numbers) = todo.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                for &number in numbers {
                    let record = match worker.try_fault(number)? {
                        Tried::Record(record) => *record,
                        Tried::Died(why) => {
                            worker = children::Worker::start(&command)?;
                            harmed(setting, number, why)?
                        }
                    };
                    progress.tried(&record);
                    folder.lock().unwrap_or_else(PoisonError::into_inner).add(record)?;
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    });
    progress.end();
    outcome
}

/// Returns the record of a trial whose process died.
fn harmed(setting: &Setting, number: u64, why: String) -> Result<Record> {
    let campaign = &setting.about.campaign;
    let trial = campaign.trial(number);
    let planted = match trial.slot {
        0 => None,
        slot => {
            let (_, planted) = Sites::of(&setting.file)?.plant(&campaign.mistake_seeds(number / BATCH))?;
            planted.get(slot as usize - 1).cloned()
        }
    };
    let run = Run {
        outcome: Outcome::HostHarmed,
        level: None,
        hits: 1,
        report: None,
        reports: 0,
        detection_ns: None,
        downtime_ns: None,
        lost: 0,
        duplicates: 0,
        corrupted: 0,
        harm: Some(why),
    };
    Ok(worker::record(&trial, planted.as_ref(), run.clone(), run))
}

/// Writes the report, and tells it.
fn report(
    args: &CampaignArgs,
    about: &About,
    records: &BTreeMap<u64, Record>,
    file: Option<&[u8]>,
) -> Result<RunOutcome> {
    let records: Vec<Record> = records.values().cloned().collect();
    let place = |offset| file.and_then(|file| lines_in_file(file, offset)).and_then(|lines| lines.into_iter().next());
    let summary = Summary::of(&records, place);
    let driver = args.driver.as_ref().map_or("DRIVER.wasm".into(), |path| path.display().to_string());
    let seed = about.campaign.seed;
    let title = format!("Faults in {}, isolation {}, seed {seed}", about.driver, about.isolation);
    let again = format!("nook-run campaign {driver} --seed {seed}");
    let json = serde_json::to_string_pretty(&summary).context("the report")? + "\n";
    let html = page(&title, &again, &summary, &records);
    for (name, text) in [("report.json", &json), ("index.html", &html)] {
        let path = args.out.join(name);
        replace(&path, text).with_context(|| format!("--out: cannot write {}", path.display()))?;
    }
    output::print(&story::summary(&title, &summary, &args.out))?;
    Ok(RunOutcome::Done)
}
