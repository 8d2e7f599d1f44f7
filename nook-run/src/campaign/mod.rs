//! `nook-run campaign`: plants faults by the thousand, one at a time in a process for that, and reports what survived
//! (docs/reliability.md).

pub mod args;
mod children;
mod compare;
mod harm;
mod object;
mod progress;
mod results;
mod settling;
mod stage;
mod story;
mod trial;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use nook_abi::{Class, Hex};
use nook_build::command::shown;
use nook_campaign::{BATCH, Campaign, Death, Kind, Record, Run, Sites, Summary, page};
use nook_recovery::PolicyFile;
use nook_regs::RegisterMap;
use nook_runtime::Wasi;
use sha2::{Digest, Sha256};

use self::args::{CampaignArgs, KindArg};
use self::children::Tried;
use self::object::ObjectFile;
use self::progress::Progress;
use self::results::{About, Folder, Plan, Records};
use self::stage::{Stage, Tested};
use self::worker::Worker;
use crate::cli::LogFormat;
use crate::files::replace;
use crate::postmortem::lines_in_file;
use crate::run::RunOutcome;
use crate::{drivers, logging, maps, output};

/// Trials of `--quick`: a fifth of what is tried otherwise.
const QUICK: u64 = 2000;

/// A driver that faults are planted in, and what else trials follow from.
struct Setting {
    file: Vec<u8>,
    /// What runs, if that is not the module.
    object: Option<ObjectFile>,
    map: &'static RegisterMap,
    /// But for the program's hash, which takes a while.
    about: About,
}

/// Runs a campaign as asked, and writes its report.
///
/// # Errors
/// If it cannot be begun, or a trial cannot be made. What the campaign finds is no error.
pub fn campaign(args: &CampaignArgs) -> Result<RunOutcome> {
    if !args.merge.is_empty() {
        let (plan, records) = results::merge(&args.merge)?;
        let mut folder = Folder::open(&args.out, &plan)?;
        records.into_values().try_for_each(|record| folder.add(record))?;
        return report(args, &plan, &folder.records, None);
    }
    if !args.compare.is_empty() {
        output::print(&compare::table(&args.compare)?)?;
        return Ok(RunOutcome::Done);
    }
    let setting = setting(args)?;
    if args.worker {
        // Where each trial has a process to itself, it was seen once that the driver works.
        return worker::serve(ready(args, &setting, !setting.is_sacrificial())?).map(|()| RunOutcome::Done);
    }
    if let Some(number) = args.trial {
        logging::set_up(1, LogFormat::Text);
        let record = match setting.is_sacrificial() {
            true => sacrifice(&worker_command(args, &setting.about)?, &setting, number)?,
            false => ready(args, &setting, true)?.record(number)?,
        };
        return story::tell(&record, &setting.file).map(|()| RunOutcome::Done);
    }
    // A driver that does not work leaves no folder.
    drop(ready(args, &setting, true)?);
    let program = fs::read("/proc/self/exe").context("cannot read this program, to tell it from other builds")?;
    let about = About { program_sha256: sha256(&program), ..setting.about.clone() };
    let plan = Plan { trials: if args.quick { QUICK } else { args.trials }, about };
    let mut folder = Folder::open(&args.out, &plan)?;
    try_all(args, plan.trials, &setting, &mut folder)?;
    report(args, &plan, &folder.records, Some(&setting.file))
}

fn sha256(bytes: &[u8]) -> String {
    Hex::of(&Sha256::digest(bytes)).to_string()
}

/// Returns what a register map is known by, whatever file it came from.
fn registers_sha256(map: &RegisterMap) -> String {
    sha256(nook_regs_file::write(map).as_bytes())
}

fn setting(args: &CampaignArgs) -> Result<Setting> {
    let driver = args.driver.as_ref().context("no driver was named")?;
    let module = drivers::load(driver, Wasi::Refused)?;
    let manifest = module.manifest();
    if Tested::of(manifest).is_none() {
        let instead = match manifest.class() {
            Class::Misc => "--crash-at irq:1, or --crash-every 50ms beside --serve while calls are made, tries it",
            _ => "--crash-every 50ms beside an --exercise, and `nook-run selftest`, try it on any device",
        };
        bail!(
            "a campaign needs an embedded device and an oracle, which there are for network drivers of the Intel 82540EM \
             (8086:100e) and for disk drivers of NVM Express; `{}` is another one: {instead}",
            manifest.name
        );
    }
    let object = ObjectFile::beside(driver, args.isolation)?;
    let policy = args.policy.as_ref().map(fs::read_to_string).transpose().context("--policy")?;
    let mut kinds: Vec<Kind> = args.faults.iter().copied().map(Kind::from).collect();
    if kinds.is_empty() {
        kinds = Kind::ALL.to_vec();
        // Only a module can be asked to turn a bit round.
        kinds.retain(|kind| object.is_none() || *kind != Kind::Memory);
    }
    if object.is_some() && kinds.contains(&Kind::Memory) {
        bail!("--faults memory: bits of memory turn round at the levels sfi and sfi+txn only; leave it out");
    }
    kinds.sort_unstable();
    kinds.dedup();
    let map = maps::choose(driver, manifest, &args.registers)?;
    let about = About {
        driver_sha256: match &object {
            Some(object) => sha256(&object.bytes),
            None => Hex::of(&module.sha256()).to_string(),
        },
        registers_sha256: registers_sha256(map),
        program_sha256: String::new(),
        driver: manifest.name.clone(),
        isolation: args.isolation.to_string(),
        policy,
        version: env!("CARGO_PKG_VERSION").into(),
        campaign: Campaign { seed: args.seed, kinds },
    };
    let file = fs::read(driver).with_context(|| format!("cannot read {}", driver.display()))?;
    Ok(Setting { file, object, map, about })
}

impl Setting {
    /// Whether the driver runs in the process that tries it: then each trial has one to itself.
    fn is_sacrificial(&self) -> bool {
        self.object.as_ref().is_some_and(ObjectFile::is_unprotected)
    }
}

/// Returns what tries faults in this process.
fn ready(args: &CampaignArgs, setting: &Setting, seen_to_work: bool) -> Result<Worker> {
    let policy = match &args.policy {
        Some(path) => PolicyFile::read(path).with_context(|| format!("--policy: {} is not used", path.display()))?,
        None => PolicyFile::default(),
    };
    let stage = Stage::new(setting.file.clone(), setting.object.clone(), setting.map, args.isolation, policy)?;
    Worker::new(stage, setting.about.campaign.clone(), seen_to_work)
}

/// Returns the arguments with which a process tries the same faults. Of a merged campaign, some files are not known.
fn same_faults(args: &CampaignArgs, about: &About) -> Result<Vec<String>> {
    let text =
        |path: &Path| path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()));
    let is_built_in = || maps::BUILT_IN.iter().any(|map| registers_sha256(map) == about.registers_sha256);
    let file = |path: &Option<PathBuf>, name: Option<&str>| match (path, name) {
        (Some(path), _) => text(path).map(Some),
        (None, name) => Ok(name.filter(|_| args.driver.is_none()).map(str::to_owned)),
    };
    let driver = file(&args.driver, Some("DRIVER.wasm"))?.context("no driver was named")?;
    let kinds = about.campaign.kinds.iter().map(|kind| KindArg::from(*kind).to_string()).collect::<Vec<_>>().join(",");
    let mut made = vec!["campaign".to_owned(), driver, "--seed".into(), about.campaign.seed.to_string()];
    made.extend(["--faults".into(), kinds, "--isolation".into(), about.isolation.clone()]);
    let paths = [
        ("--policy", file(&args.policy, about.policy.as_ref().map(|_| "POLICY.toml"))?),
        ("--registers", file(&args.registers.registers, (!is_built_in()).then_some("MAP.regs.toml"))?),
        ("--state", file(&args.registers.state, None)?),
    ];
    for (option, path) in paths {
        made.extend(path.into_iter().flat_map(|path| [option.to_owned(), path]));
    }
    Ok(made)
}

/// Returns the arguments of a process that tries faults.
fn worker_command(args: &CampaignArgs, about: &About) -> Result<Vec<String>> {
    let mut command = same_faults(args, about)?;
    command.push("--worker".into());
    Ok(command)
}

/// Tries all faults that were not tried yet.
fn try_all(args: &CampaignArgs, trials: u64, setting: &Setting, folder: &mut Folder) -> Result<()> {
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
    let (folder, command) = (Mutex::new(folder), worker_command(args, &setting.about)?);
    // Of one thread: all others end after their trial.
    let failed = &AtomicBool::new(false);
    // What computes are the processes; a thread waits for each.
    let outcome = std::thread::scope(|scope| {
        let try_some = || -> Result<()> {
            let mut worker = None;
            while let Some(numbers) = todo.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                for &number in numbers {
                    if failed.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    let record = match setting.is_sacrificial() {
                        true => sacrifice(&command, setting, number)?,
                        false => try_one(&mut worker, &command, setting, number)?,
                    };
                    progress.tried(&record);
                    folder.lock().unwrap_or_else(PoisonError::into_inner).add(record)?;
                }
            }
            Ok(())
        };
        let work = move || try_some().inspect_err(|_| failed.store(true, Ordering::Relaxed));
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    });
    progress.end();
    outcome
}

/// Tries a fault in a process that tries others too.
fn try_one(
    worker: &mut Option<children::Worker>,
    command: &[String],
    setting: &Setting,
    number: u64,
) -> Result<Record> {
    let trying = match worker {
        Some(worker) => worker,
        None => worker.insert(children::Worker::start(command, false)?),
    };
    match trying.try_fault(number)? {
        Tried::Record(record) => Ok(*record),
        Tried::Trapped => bail!("trial {number}: a trap that nobody put there"),
        Tried::Died(death, why) => {
            *worker = None;
            harmed(setting, number, death, why)
        }
    }
}

/// Tries a fault in a process for it alone, once another has found that its place is reached.
fn sacrifice(command: &[String], setting: &Setting, number: u64) -> Result<Record> {
    let start = || children::Worker::start(command, true);
    if setting.about.campaign.trial(number).kind == Kind::Code
        && let Tried::Record(record) = start()?.look_for(number)?
    {
        return Ok(*record);
    }
    match start()?.try_fault(number)? {
        Tried::Record(record) => Ok(*record),
        Tried::Trapped => bail!("trial {number}: a trap that nobody put there"),
        Tried::Died(death, why) => harmed(setting, number, death, why),
    }
}

/// Returns the record of a trial whose process died.
fn harmed(setting: &Setting, number: u64, death: Death, why: String) -> Result<Record> {
    let campaign = &setting.about.campaign;
    let (trial, run) = (campaign.trial(number), Run::died(death, why));
    if let (Some(object), Kind::Code) = (&setting.object, trial.kind) {
        let record = worker::machine_record(&trial, &object.mistake(trial.seed)?, run.clone(), run);
        return Ok(Record { from_start: true, ..record });
    }
    let planted = match trial.slot {
        0 => None,
        slot => {
            let (_, planted) = Sites::of(&setting.file)?.plant(&campaign.mistake_seeds(number / BATCH))?;
            planted.get(slot as usize - 1).cloned()
        }
    };
    Ok(worker::record(&trial, planted.as_ref(), run.clone(), run))
}

/// Writes the report, and tells it.
fn report(args: &CampaignArgs, plan: &Plan, records: &Records, file: Option<&[u8]>) -> Result<RunOutcome> {
    let about = &plan.about;
    let records: Vec<Record> = records.values().cloned().collect();
    let place = |offset| file.and_then(|file| lines_in_file(file, offset)).and_then(|lines| lines.into_iter().next());
    let summary = Summary::of(&records, place);
    let mut title = format!("Faults in {}, isolation {}, seed {}", about.driver, about.isolation, about.campaign.seed);
    let there = records.iter().filter(|record| record.trial < plan.trials).count() as u64;
    if there < plan.trials {
        title += &format!("; {} of {} trials are not here", plan.trials - there, plan.trials);
    }
    let again = shown(Command::new("nook-run").args(same_faults(args, about)?));
    let json = serde_json::to_string_pretty(&summary).context("the report")? + "\n";
    let html = page(&title, &again, &summary, &records);
    for (name, text) in [("report.json", &json), ("index.html", &html)] {
        let path = args.out.join(name);
        replace(&path, text).with_context(|| format!("--out: cannot write {}", path.display()))?;
    }
    output::print(&story::summary(&title, &summary, &args.out))?;
    Ok(RunOutcome::Done)
}
