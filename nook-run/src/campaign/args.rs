//! Options of `nook-run campaign`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nook_campaign::Kind;

use crate::cli::Isolation;
use crate::maps::args::RegistersArgs;

/// `nook-run campaign`.
#[derive(Debug, Args)]
#[command(
    after_help = "A trial follows from the driver's file and register map, from --seed, --faults, --isolation and \
                        --policy, and from its number: with the same ones, --trial N plays it again (natively as far as a wild pointer does the same). docs/reliability.md says what is tried and how it is judged."
)]
pub struct CampaignArgs {
    /// The driver's file.
    #[arg(required_unless_present_any = ["merge", "compare"])]
    pub driver: Option<PathBuf>,
    /// Its register map.
    #[command(flatten)]
    pub registers: RegistersArgs,
    /// Seed of the campaign: another one makes other faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Number of trials.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub trials: u64,
    /// Tries 2000 faults only, for a first look.
    #[arg(long, conflicts_with = "trials")]
    pub quick: bool,
    /// Kinds of faults. If nothing is said, all that can be made at the isolation level.
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub faults: Vec<KindArg>,
    /// Plays one trial again and tells its story.
    #[arg(long, value_name = "NUMBER")]
    pub trial: Option<u64>,
    /// Only every n-th batch of 128 trials, beginning with the i-th: i/n, of which i is from 1 to n.
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "1/1")]
    pub shard: (u64, u64),
    /// Puts the results of shards together, instead of trying anything: their folders.
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["driver", "trial", "quick", "trials"])]
    pub merge: Vec<PathBuf>,
    /// Prints what campaigns of one driver came to at several isolation levels, by class: their folders.
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["driver", "merge", "trial", "quick", "trials"])]
    pub compare: Vec<PathBuf>,
    /// Where results and report go. A campaign that is there already is continued.
    #[arg(long, value_name = "DIR", default_value = "target/campaign")]
    pub out: PathBuf,
    /// Processes that try faults at the same time; as many as there are processors if nothing is said.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// How the driver is isolated. Outside the sandbox, mistakes are made in its machine code.
    #[arg(long, value_name = "LEVEL", default_value = "sfi+txn")]
    pub isolation: Isolation,
    /// What happens after a fault, from a file; see docs/policy.md.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Tries the faults whose numbers it reads, for a campaign in another process.
    #[arg(long, hide = true, conflicts_with_all = ["trial", "merge"])]
    pub worker: bool,
}

/// Where a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// In the driver's code.
    Code,
    /// In its memory.
    Memory,
    /// In the device.
    Device,
    /// In what the operating system does for it.
    Kernel,
}

impl std::fmt::Display for KindArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        f.write_str(&name.unwrap_or_default())
    }
}

impl From<Kind> for KindArg {
    fn from(kind: Kind) -> KindArg {
        match kind {
            Kind::Code => KindArg::Code,
            Kind::Memory => KindArg::Memory,
            Kind::Device => KindArg::Device,
            Kind::Kernel => KindArg::Kernel,
        }
    }
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Kind {
        match kind {
            KindArg::Code => Kind::Code,
            KindArg::Memory => Kind::Memory,
            KindArg::Device => Kind::Device,
            KindArg::Kernel => Kind::Kernel,
        }
    }
}

/// Parses `2/8`.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once('/').and_then(|(at, of)| Some((at.parse::<u64>().ok()?, of.parse::<u64>().ok()?)));
    parsed.filter(|(at, of)| (1..=*of).contains(at)).ok_or_else(|| "it should be like 2/8, the second of eight".into())
}
