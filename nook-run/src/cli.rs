//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nook_abi::Entry;
use nook_qemu::DeviceSpec;

use crate::device::DeviceArgs;
use crate::exercise::Exercise;
use crate::maps::args::{MapArgs, RegistersArgs};
use crate::{block, build, call, misc, net, new, pci, replay, serial, trace};

/// Runs a device driver that is compiled to WebAssembly, isolated and recoverable.
///
/// Without --pci or --qemu the driver runs on the embedded model of a network card, so a first run needs neither root
/// nor hardware.
#[derive(Debug, Parser)]
#[command(
    name = "nook-run",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit status: 0 done, 1 failed (the message says what to do), 2 wrong usage, 3 an exercise or \
                  the self-test did not pass, 4 the driver is in quarantine. With --nook, the worst of all nooks': \
                  4, then 3, 1, 0."
)]
pub struct Cli {
    /// A command other than running a driver.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run, without a command. Not optional: of arguments that hold others, as these hold a
    /// class's, clap does not tell whether any was given.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What can be done besides running a driver.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begins a driver: makes a folder with a project that builds, passes its test and runs as it is.
    New(new::NewArgs),
    /// Builds the driver in a crate's folder: its module (.wasm), its shared object (.so) and its program (.elf).
    Build(build::BuildArgs),
    /// Calls an operation of a misc driver that another run serves (--serve), and prints what it gives.
    Call(call::CallArgs),
    /// Prints what a driver's file holds: manifest, imports, entries, memory, sizes. Runs nothing of it.
    Inspect(InspectArgs),
    /// Writes, checks and accepts register maps: what a driver may do with its device; docs/register-maps.md.
    Map(MapArgs),
    /// Tests a driver and its device by themselves: a network card's frames are looped back inside it and checked; a
    /// disk's blocks are read in several ways and compared, and written only with --destroy-data.
    Selftest(Box<SelftestArgs>),
    /// Plants faults in a driver and what it works with, by the thousand, and reports what survived.
    Campaign(Box<crate::campaign::args::CampaignArgs>),
    /// Lists this machine's PCI devices, the kernel drivers that have them, and which of the given drivers drive them.
    Devices(pci::args::DevicesArgs),
    /// Takes a device from its kernel driver and binds it to vfio-pci, for --pci.
    Bind(pci::args::BindArgs),
    /// Gives a device back to the driver that it was taken from.
    Unbind(pci::args::UnbindArgs),
    /// Explains a crash bundle: what happened, where in the driver's source, and what it did before.
    Postmortem(PostmortemArgs),
    /// Prints what a device's registers hold, or held in a crash bundle, by the register map: names, values, fields.
    Registers(Box<crate::registers::DumpArgs>),
    /// Prints what --trace wrote, as text, as JSON lines, or for Perfetto and Chrome; docs/trace.md.
    Trace(trace::TraceArgs),
    /// Runs a driver against what --record wrote, without the device, and says where it does something else;
    /// docs/replay.md.
    Replay(replay::ReplayArgs),
    /// Says what this machine lacks for --pci, and how to fix it.
    Doctor(pci::args::DoctorArgs),
}

/// `nook-run inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The driver's file.
    pub driver: PathBuf,
    /// Its register map.
    #[command(flatten)]
    pub registers: RegistersArgs,
}

/// `nook-run postmortem`.
#[derive(Debug, Args)]
pub struct PostmortemArgs {
    /// The bundle: a folder that a fault left.
    pub bundle: PathBuf,
    /// The driver's file, if it was moved since.
    #[arg(long, value_name = "FILE")]
    pub driver: Option<PathBuf>,
}

/// `nook-run selftest`.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// The driver's file.
    pub driver: PathBuf,
    /// Its device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Its register map.
    #[command(flatten)]
    pub registers: RegistersArgs,
    /// Of a network card: number of frames to send, 10000 without this.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    pub packets: Option<u32>,
    /// Of a disk, without other device: the embedded disk's content is this file, in place of 64 MiB of memory.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["qemu", "pci"])]
    pub disk: Option<PathBuf>,
    /// Of a disk: writes to it, too. It is named by its serial number, and what it holds is lost.
    #[arg(long, value_name = "SERIAL")]
    pub destroy_data: Option<String>,
    /// Seed of the frames' sizes and contents, and of the embedded model's random behaviour.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Writes a report to this file, to attach to a bug report.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How a driver is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// The shared object (.so) beside the driver's file, in this process, no checks: the baseline.
    Native,
    /// The same, with every service checked.
    Wrapped,
    /// An object (.mpk) behind a memory protection key: writes only what is its own; every service checked. Linux 6.12.
    Mpk,
    /// In a WebAssembly sandbox, with every service checked.
    Sfi,
    /// The same, and a call that faults is rolled back: memory, host and device are as they were before it.
    #[value(name = "sfi+txn")]
    SfiTxn,
    /// Natively (.elf), in a separate process without privileges, over shared memory; every service checked.
    Process,
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        f.write_str(&name.unwrap_or_default())
    }
}

/// How a driver's process and its host wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProcessWait {
    /// By sleeping until the other wakes it.
    Futex,
    /// By polling, each on its own processor; it sleeps only when nothing has come for a while.
    Poll,
}

/// How a driver reaches its device's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MmioArg {
    /// Through the host, which checks each access.
    Emulated,
    /// Directly, as memory.
    Direct,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text to read.
    Text,
    /// One JSON object a line.
    Json,
}

/// Parses `poll:1000`.
fn crash_at(text: &str) -> Result<(Entry, u64), String> {
    let (name, number) = text.split_once(':').ok_or("it should be like poll:1000")?;
    let entry = Entry::named(name).ok_or_else(|| {
        let names: Vec<&str> = nook_abi::ENTRIES.iter().map(|row| row.name).collect();
        format!("`{name}` is no entry; it can be {}", names.join(", "))
    })?;
    match number.parse() {
        Ok(number @ 1..) => Ok((entry, number)),
        _ => Err(format!("`{number}` is no number of a call; the first call is 1")),
    }
}

/// The longest time that can be given: a year of 365 days. It fits into nanoseconds, and can be added to any clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses `10s`, `250ms`, `2m`, or seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit; it can be ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| "it should be like 10s or 250ms".to_owned())?;
    let time = Duration::try_from_secs_f64(number * scale).ok().filter(|time| *time <= LONGEST);
    time.ok_or_else(|| "it is longer than a year (8760h)".to_owned())
}

/// The modules of one nook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modules {
    /// The driver's file.
    pub driver: PathBuf,
    /// The file of a filter beside it.
    pub filter: Option<PathBuf>,
}

/// Parses `driver.wasm` or `driver.wasm+filter.wasm`. A `+` elsewhere is part of a name.
fn modules(text: OsString) -> Result<Modules, &'static str> {
    const BETWEEN: &[u8] = b".wasm+";
    let bytes = text.as_bytes();
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let Some(at) = bytes.windows(BETWEEN.len()).position(|part| part == BETWEEN) else {
        return Ok(Modules { driver: path(bytes), filter: None });
    };
    let (driver, filter) = (&bytes[..at + BETWEEN.len() - 1], &bytes[at + BETWEEN.len()..]);
    if filter.is_empty() || filter.windows(BETWEEN.len()).any(|part| part == BETWEEN) {
        return Err("a nook holds a driver and at most one filter: driver.wasm+filter.wasm");
    }
    Ok(Modules { driver: path(driver), filter: Some(path(filter)) })
}

/// One `--nook`.
#[derive(Clone, Debug)]
pub struct NookArg {
    /// As it was given.
    pub text: String,
    /// What it says.
    pub args: RunArgs,
}

/// A run's arguments without a command's name.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

fn nook(text: &str) -> Result<NookArg, String> {
    let line = Line::try_parse_from(text.split_whitespace()).map_err(|error| {
        // What is wrong; the usage that follows is that of the whole command.
        let text = error.to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let what = lines.take_while(|line| !line.starts_with("Usage:")).collect::<Vec<_>>().join(" ");
        what.trim_start_matches("error: ").to_owned()
    })?;
    let args = line.run;
    if !args.nook.is_empty() || args.json.is_some() || args.verbose > 0 || args.log_format != LogFormat::Text {
        return Err("--nook, --json, --verbose and --log-format are for all nooks: give them outside".into());
    }
    Ok(NookArg { text: text.to_owned(), args })
}

/// A run.
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("work").args(["exercise", "call"]).multiple(true)))]
pub struct RunArgs {
    /// The driver's file, for instance target/drivers/e1000.wasm; with a filter beside it, both:
    /// e1000.wasm+filter.wasm.
    #[arg(required_unless_present = "nook", value_parser = OsStringValueParser::new().try_map(modules))]
    pub driver: Option<Modules>,

    /// One more nook, on its own thread: modules and options as for their own run, without blanks in
    /// names, such as 'e1000.wasm+filter.wasm --tap nook0'. Can be given more than once. --json, --duration, --no-cache
    /// and the logging options apply to all of them.
    #[arg(long, value_name = "MODULES OPTIONS", value_parser = nook, conflicts_with_all = [
        "driver", "filter_rule", "call", "serve", "pty", "line", "qemu", "qemu_part", "qemu_program", "pci", "tap", "wire", "seed", "calm", "pcap", "exercise", "disk", "namespace", "queues", "nbd", "attach", "nbd_name", "read_only", "destroy_data", "depth", "io_bytes", "isolation",
        "mmio", "policy", "virtual_time", "crash_every", "crash_at", "promiscuous", "rx_queues", "counters", "wasi", "process_wait", "registers", "state", "trace", "record",
    ])]
    pub nook: Vec<NookArg>,

    /// The options of the network class.
    #[command(flatten)]
    pub net: net::args::Args,

    /// The options of the block class.
    #[command(flatten)]
    pub block: block::args::Args,

    /// The options of the misc class.
    #[command(flatten)]
    pub misc: misc::args::Args,

    /// The options of the serial class.
    #[command(flatten)]
    pub serial: serial::args::Args,

    /// Exercises what the driver serves from within the process, prints a table, and ends the run: an interface with
    /// ping, tcp and rr, a disk with read, write, verify and fsync, a serial line with loop.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', conflicts_with_all = ["tap"])]
    pub exercise: Vec<Exercise>,

    /// Runs on this PCI device of QEMU's, named as for QEMU's -device, perhaps with its options: e1000e,
    /// e1000,mac=52:54:00:12:34:56. A network card is in QEMU's user network; a disk's drive is a file: nvme,file=PATH.
    /// A comma within a value is doubled.
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["wire", "calm"])]
    pub qemu: Option<DeviceSpec>,

    /// Plugs this into the device of --qemu, named in the same way: a namespace of an NVMe controller is
    /// nvme-ns,file=PATH,nsid=2, and the port of virtio-serial-pci is virtconsole,socket=PATH. Can be given more than
    /// once.
    #[arg(long, value_name = "DEVICE", requires = "qemu")]
    pub qemu_part: Vec<DeviceSpec>,

    /// The QEMU for --qemu: its program, or the folder that it was unpacked into. Without this it is the one that the
    /// variable NOOK_QEMU names, or qemu-system-x86_64 from PATH.
    #[arg(long, value_name = "PATH", requires = "qemu")]
    pub qemu_program: Option<PathBuf>,

    /// Runs on the real device at this address (03:00.0), through VFIO; see `nook-run bind`.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["wire", "calm", "qemu"])]
    pub pci: Option<String>,

    /// Its register map.
    #[command(flatten)]
    pub registers: RegistersArgs,

    /// Seed of what is random: the embedded model's behaviour, where --crash-every and --crash-at end calls, and what a
    /// disk's exercise writes. On any device; only the model is the same each time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Runs on an embedded model without random behaviour, for measurements.
    #[arg(long)]
    pub calm: bool,

    /// Ends the run after this time: 10s, 250ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Writes a report to this file at the end.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// How the driver is isolated. The default is sfi+txn, or sfi if this driver's calls cannot be rolled back or
    /// other options exclude it; the log then says so.
    #[arg(long, value_enum)]
    pub isolation: Option<Isolation>,

    /// With --isolation process: how the driver's process and the host wait for each other. The default is futex.
    #[arg(long, value_enum)]
    pub process_wait: Option<ProcessWait>,

    /// How the driver accesses registers. `direct` is a statement of trust in this driver with this device: nothing
    /// but the BAR's length is checked, and nothing is traced. It needs a device whose registers can be mapped.
    #[arg(long, value_enum, default_value_t = MmioArg::Emulated)]
    pub mmio: MmioArg,

    /// Policy file: what happens after a fault of the driver; see docs/policy.md.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Ends one call of the driver in a trap at this interval, to test its recovery: 1s, 50ms; after a pause the
    /// interval begins again. The trap comes inside the call, before any instruction but its first (with sfi+txn, also
    /// those that log what is overwritten); --seed picks which, among as many as an earlier call took. If a call has
    /// fewer, the rest is counted down in the next.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "crash_at")]
    pub crash_every: Option<Duration>,

    /// Ends one call of the driver in a trap in the same way: the call of this entry with this number, for instance
    /// poll:1000.
    #[arg(long, value_name = "ENTRY:NUMBER", value_parser = crash_at)]
    pub crash_at: Option<(Entry, u64)>,

    /// Runs on virtual time: it advances by fixed amounts while code runs, and jumps ahead where the nook would
    /// wait. The same command gives the same report each time, to the byte, and usually sooner. For exercises, and
    /// calls of a misc driver, on the embedded model; see docs/virtual-time.md.
    #[arg(long, requires = "work", conflicts_with_all = ["qemu", "pci", "tap", "wasi", "nbd", "attach"])]
    pub virtual_time: bool,

    /// Gives a driver that was built for WASI an empty world, for development; what it prints goes to the log.
    #[arg(long)]
    pub wasi: bool,

    /// Compiles the driver again, without the cache.
    #[arg(long)]
    pub no_cache: bool,

    /// The trace of the run.
    #[command(flatten)]
    pub trace: trace::RunTrace,

    /// The recording of the run.
    #[command(flatten)]
    pub record: replay::RunRecord,

    /// Logs more; given twice, it logs everything, including each register access.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Format of log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod documents;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_seed_of_crashes_can_be_given_on_any_device() {
        for device in [["--qemu", "e1000"], ["--pci", "03:00.0"]] {
            let args = [&["nook-run", "e1000.wasm", "--crash-every", "50ms", "--seed", "7"], &device[..]].concat();
            assert_eq!(Cli::try_parse_from(args).unwrap().run.seed, 7);
            let calm = [&["nook-run", "e1000.wasm", "--calm"], &device[..]].concat();
            assert!(Cli::try_parse_from(calm).is_err());
        }
    }

    #[test]
    fn a_driver_is_run_and_inspect_is_a_command() {
        let cli = Cli::try_parse_from(["nook-run", "e1000.wasm", "--exercise", "ping,tcp", "--duration", "5s"]);
        let run = cli.unwrap().run;
        assert_eq!(run.exercise, [Exercise::Ping, Exercise::Tcp]);
        assert_eq!(run.duration, Some(Duration::from_secs(5)));
        let cli = Cli::try_parse_from(["nook-run", "inspect", "e1000.wasm"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Inspect(_))) && cli.run.driver.is_none());
        assert!(Cli::try_parse_from(["nook-run"]).is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn beside_nooks_there_are_only_options_that_are_for_all_of_them() {
        const FOR_ALL: [&str; 5] = ["duration", "json", "no_cache", "verbose", "log_format"];
        let command = Cli::command();
        let nook = command.get_arguments().find(|arg| arg.get_id() == "nook").unwrap();
        let refused = command.get_arg_conflicts_with(nook);
        for arg in command.get_arguments().filter(|arg| arg.get_id() != "nook") {
            let id = arg.get_id().as_str();
            assert_ne!(refused.contains(&arg), FOR_ALL.contains(&id), "{id}");
        }
    }

    #[test]
    fn modules_are_distinguished_by_their_ending() {
        let read = |text: &str| modules(text.into()).map(|it| (it.driver, it.filter));
        assert_eq!(read("a+b.wasm"), Ok(("a+b.wasm".into(), None)));
        assert_eq!(read("/c++/a.wasm+/c++/b.wasm"), Ok(("/c++/a.wasm".into(), Some("/c++/b.wasm".into()))));
        assert!(read("a.wasm+").is_err() && read("a.wasm+b.wasm+c.wasm").is_err());
    }

    #[test]
    fn nooks_have_their_own_options_and_share_some() {
        let read = |args: &[&str]| Cli::try_parse_from([&["nook-run"], args].concat()).map(|cli| cli.run);
        let both = ["--nook", "a.wasm --tap t0", "--nook", "b.wasm+f.wasm  --filter-rule udp:9", "--json", "out"];
        let run = read(&both).unwrap();
        assert_eq!(run.nook[0].args.net.tap.as_deref(), Some("t0"));
        assert_eq!(run.nook[1].args.net.filter_rule, ["udp:9"]);
        assert!(run.driver.is_none() && run.json.is_some());
        for wrong in ["", "--tap t0", "a.wasm --json x", "a.wasm --frob", "a.wasm --nook b.wasm", "a.wasm b.wasm"] {
            let error = read(&["--nook", wrong]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong}");
        }
        assert!(read(&["a.wasm", "--nook", "b.wasm"]).is_err() && read(&["--nook", "b.wasm", "--tap", "t0"]).is_err());
        assert!(read(&["--nook", "a.wasm --frob"]).unwrap_err().to_string().contains("'--frob'"));
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("5 parsecs").is_err() && duration("s").is_err() && duration("-1s").is_err());
        assert_eq!(duration("8760h"), Ok(LONGEST));
        let too_long = |text| duration(text).is_err_and(|why| why.contains("longer than a year"));
        assert!(too_long("8761h") && too_long("6000000h") && too_long(&"9".repeat(400)));
    }
}
