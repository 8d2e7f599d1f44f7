//! The cases: what scripts in `tests/guest` hold, and how one is run.

use crate::guest::machine::Machine;
use crate::guest::peer::Pinged;
use crate::{cargo, util};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name: the function's, without `case_`.
    pub name: String,
    /// What it shows.
    pub sentence: String,
    /// How long it may take.
    pub limit: Duration,
}

/// What came of one.
pub struct CaseOutcome {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// What the guest and the trace said.
    pub data: Map<String, Value>,
    /// How long it took.
    pub time: Duration,
}

/// Returns the cases in a script, in its order. Each is a function with a sentence and a limit in the line above:
///
/// ```sh
/// # The card does this. [30]
/// case_the_card_does_this() {
/// ```
pub fn parse(script: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut above = "";
    for line in script.lines() {
        if let Some(rest) = line.strip_prefix("case_") {
            let name = rest.split('(').next().unwrap_or_default().to_string();
            let described = described(above);
            let (sentence, limit) = described.with_context(|| {
                format!("case_{name} has no line `# It shows this. [seconds]` above it, but {above:?}")
            })?;
            cases.push(Case { name, sentence, limit });
        }
        above = line;
    }
    Ok(cases)
}

fn described(line: &str) -> Option<(String, Duration)> {
    let (sentence, limit) = line.strip_prefix("# ")?.strip_suffix(']')?.rsplit_once(" [")?;
    Some((sentence.to_string(), Duration::from_secs(limit.parse().ok()?)))
}

/// Runs one, which leaves in `inbox` what it sends there. An error means that the machine is of no more use.
pub fn run(machine: &mut Machine, case: &Case, inbox: &Path) -> (CaseOutcome, Result<()>) {
    let (start, console) = (Instant::now(), machine.console_len());
    let mut outcome = CaseOutcome { failure: None, data: Map::new(), time: Duration::ZERO };
    let talked = talk(machine, case, inbox, start + case.limit, &mut outcome);
    outcome.time = start.elapsed();
    if let Err(error) = &talked {
        let late = outcome.time >= case.limit;
        let limit = if late { format!(" of {} s", case.limit.as_secs()) } else { String::new() };
        outcome.failure = Some(format!("{error:#}{limit}"));
    }
    if let Some(failure) = &mut outcome.failure {
        *failure += &format!("\nThe console's last lines:\n{}", machine.console_tail(console, 40));
    }
    (outcome, talked)
}

fn talk(machine: &mut Machine, case: &Case, inbox: &Path, deadline: Instant, outcome: &mut CaseOutcome) -> Result<()> {
    machine.say(&format!("run {}", case.name))?;
    let mut reasons = Vec::new();
    loop {
        let line = machine.hear(deadline)?;
        match line.split_once(' ') {
            Some(("result", text)) => {
                let value = serde_json::from_str(text).with_context(|| format!("the case's result is {text:?}"))?;
                let Value::Object(object) = value else { bail!("the case's result is no object: {text:?}") };
                outcome.data.extend(object);
            }
            Some(("why", text)) => reasons.push(text.to_string()),
            Some(("count", "begin")) => {
                machine.count_begin()?;
                machine.say("ok")?;
            }
            Some(("count", end)) => {
                let (slot, label) = counted_card(end).with_context(|| format!("the case says {line:?}"))?;
                let counts = machine.count_end(slot)?;
                let (reads, writes) = counts.totals();
                let all = outcome.data.entry("accesses").or_insert_with(|| Value::Object(Map::new()));
                all[label] = counts.to_json();
                machine.say(&format!("counted {reads} {writes}"))?;
            }
            Some(("wire", words)) => {
                let (verb, slot) = words.split_once(' ').with_context(|| format!("the case says {line:?}"))?;
                let slot = u32::from_str_radix(slot, 16).with_context(|| format!("the case says {line:?}"))?;
                if verb == "begin" {
                    machine.wire_begin(slot)?;
                    machine.say("ok")?;
                } else {
                    let frames = machine.wire_end(slot)?;
                    machine.say(&format!("passed {} {}", frames.all, frames.with_content))?;
                }
            }
            Some(("peer", "meet")) => machine.peer.meet().and_then(|met| machine.say(&format!("met {met}")))?,
            Some(("peer", words)) => {
                let (count, at_once) = requests(words).with_context(|| format!("the case says {line:?}"))?;
                let Pinged { answered, frames } = machine.peer.ping(count, at_once)?;
                machine.say(&format!("pinged {answered} {frames}"))?;
            }
            Some(("replay", driver)) => {
                match replay(inbox, driver) {
                    Ok(said) => drop(outcome.data.insert("replayed_outside".into(), said.into())),
                    Err(error) => reasons.push(format!("{error:#}")),
                }
                machine.say("ok")?;
            }
            Some(("done", status)) => {
                if status != "0" || !reasons.is_empty() {
                    let reason = if reasons.is_empty() { "a command failed".into() } else { reasons.join("; ") };
                    outcome.failure = Some(format!("{reason} (status {status})"));
                }
                return Ok(());
            }
            _ => bail!("the guest says {line:?}, which means nothing"),
        }
    }
}

/// Runs a driver of `target/drivers` against the recording that was sent out. Returns what came of it, and an error if
/// that is not the same as in the guest.
fn replay(recording: &Path, driver: &str) -> Result<String> {
    let module = util::target_dir().join("drivers").join(driver).with_extension("wasm");
    let mut nook_run = Command::new(cargo::binary("nook-run")?);
    let said = util::output(nook_run.arg("replay").arg(recording).arg(module)).context("outside the guest")?;
    let line = said.lines().find(|line| line.starts_with("the same to its end: "));
    Ok(line.with_context(|| format!("outside the guest it is another run: {said}"))?.to_string())
}

/// Slot and label out of `end 05 ping`.
fn counted_card(text: &str) -> Option<(u32, &str)> {
    let (slot, label) = text.strip_prefix("end ")?.split_once(' ')?;
    Some((u32::from_str_radix(slot, 16).ok()?, label))
}

/// Returns how many requests, and how many at once, out of `ping 100 1`.
fn requests(text: &str) -> Option<(u32, u32)> {
    let (count, at_once) = text.strip_prefix("ping ")?.split_once(' ')?;
    Some((count.parse().ok()?, at_once.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_a_sentence_and_a_limit() {
        let cases = parse("# Words.\nhelp() {\n}\n\n# It pings [twice]. [30]\ncase_it_pings() {\n}\n").unwrap();
        let sentence = "It pings [twice].".to_string();
        assert_eq!(cases, [Case { name: "it_pings".into(), sentence, limit: Duration::from_secs(30) }]);
    }

    #[test]
    fn a_case_without_them_is_refused_by_its_name() {
        for above in ["", "# It pings.", "# It pings. [soon]"] {
            let message = parse(&format!("{above}\ncase_it_pings() {{\n")).unwrap_err().to_string();
            assert!(message.contains("case_it_pings"), "{message}");
        }
    }

    #[test]
    fn the_trees_cases_can_be_read() {
        for script in crate::guest::CASES {
            let script = std::fs::read_to_string(util::root().join("tests/guest").join(script)).unwrap();
            assert!(!parse(&script).unwrap().is_empty());
        }
    }

    #[test]
    fn the_card_to_be_counted_is_given_in_hexadecimal() {
        assert_eq!(counted_card("end 1f tcp"), Some((0x1f, "tcp")));
        assert_eq!(counted_card("end tcp"), None);
        assert_eq!(requests("ping 3200 32"), Some((3200, 32)));
        assert_eq!(requests("ping 3200"), None);
    }
}
