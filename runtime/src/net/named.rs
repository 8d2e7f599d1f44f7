//! Counters that a driver names: what each has counted in all of its driver's instances.

use nook_abi::net::counter_rule;

/// The named counters of an interface. They outlive instances: a restart never makes one go down.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedCounters {
    names: Vec<String>,
    /// By instances that have ended.
    before: Vec<u64>,
    /// By this instance, as it reported last.
    reported: Vec<u64>,
    /// This instance has named them.
    named: bool,
}

impl NamedCounters {
    /// A fresh instance begins: what the last one reported stays counted.
    pub(super) fn begin(&mut self) {
        self.named = false;
        for (before, reported) in self.before.iter_mut().zip(&mut self.reported) {
            *before = before.saturating_add(std::mem::take(reported));
        }
    }

    /// Takes the list of names; a name a line. Counters of the same names as before go on; others begin at 0.
    pub(super) fn name(&mut self, list: &str) -> Result<(), &'static str> {
        if self.named {
            return Err("they were named already");
        }
        let names: Vec<&str> = list.lines().collect();
        if let Some(rule) = counter_rule(&names) {
            return Err(rule);
        }
        self.named = true;
        if self.names != names {
            if !self.names.is_empty() {
                tracing::warn!("the driver names other counters than before its restart: they begin at 0");
            }
            self.names = names.into_iter().map(String::from).collect();
            self.before = vec![0; self.names.len()];
            self.reported.clone_from(&self.before);
        }
        Ok(())
    }

    /// Takes what this instance has counted, a value of each.
    pub(super) fn report(&mut self, values: &[u64]) -> Result<(), &'static str> {
        if !self.named || values.len() != self.reported.len() {
            return Err("not as many as were named");
        }
        if values.iter().zip(&self.reported).any(|(now, reported)| now < reported) {
            return Err("a counter went down");
        }
        self.reported.copy_from_slice(values);
        Ok(())
    }

    /// Returns what this instance has reported, to restore it.
    pub(super) fn reported(&self) -> &[u64] {
        &self.reported
    }

    /// The instance is restored to a moment at which it had reported this: what it has counted since stays counted.
    pub(super) fn restore(&mut self, reported: &[u64]) {
        for ((before, now), &then) in self.before.iter_mut().zip(&mut self.reported).zip(reported) {
            *before = before.saturating_add(now.saturating_sub(then));
            *now = then;
        }
    }

    /// Returns each with what it has counted in all.
    pub(super) fn totals(&self) -> Vec<(String, u64)> {
        let counted = self.before.iter().zip(&self.reported).map(|(before, reported)| before.saturating_add(*reported));
        self.names.iter().cloned().zip(counted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(list: &str) -> NamedCounters {
        let mut counters = NamedCounters::default();
        counters.begin();
        counters.name(list).unwrap();
        counters
    }

    fn values(counters: &NamedCounters) -> Vec<u64> {
        counters.totals().into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn what_an_instance_reported_is_counted_after_it() {
        let mut counters = begun("rx\ntx");
        counters.report(&[5, u64::MAX - 1]).unwrap();
        counters.begin();
        assert_eq!(values(&counters), [5, u64::MAX - 1]);
        assert_eq!(counters.report(&[5, 5]), Err("not as many as were named"));
        counters.name("rx\ntx\n").unwrap();
        assert_eq!(counters.report(&[5]), Err("not as many as were named"));
        counters.report(&[2, 7]).unwrap();
        assert_eq!(counters.totals(), [("rx".to_owned(), 7), ("tx".to_owned(), u64::MAX)]);
    }

    #[test]
    fn a_snapshot_restore_takes_nothing_away() {
        let mut counters = begun("rx");
        counters.report(&[5]).unwrap();
        let then = counters.reported().to_vec();
        counters.report(&[9]).unwrap();
        counters.restore(&then);
        assert_eq!(values(&counters), [9]);
        counters.report(&[6]).unwrap();
        assert_eq!(values(&counters), [10]);
    }

    #[test]
    fn a_counter_of_one_instance_never_goes_down() {
        let mut counters = begun("rx\ntx");
        counters.report(&[5, 5]).unwrap();
        assert_eq!(counters.report(&[6, 4]), Err("a counter went down"));
        assert_eq!(values(&counters), [5, 5]);
    }

    #[test]
    fn other_names_are_other_counters() {
        let mut counters = begun("rx");
        counters.report(&[5]).unwrap();
        assert_eq!(counters.name("rx"), Err("they were named already"));
        counters.begin();
        assert!(counters.name("").is_err() && counters.name("r x").is_err());
        counters.name("rx\ntx").unwrap();
        assert_eq!(values(&counters), [0, 0]);
    }
}
