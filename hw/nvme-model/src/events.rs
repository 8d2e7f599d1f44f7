//! Asynchronous events (section 5.2).

use nvme_regs::{admin, status};

use crate::model::Model;
use crate::work::Outcome;

/// Requests at a time, less one.
pub(crate) const AERL: u8 = 3;

#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Commands that wait for one.
    requests: Vec<u16>,
    /// What has happened and was not told, as results.
    pending: Vec<u32>,
    /// Types that answer no request before their log page was read, as bits.
    masked: u32,
    /// The feature: which notices are reported.
    pub(crate) enabled: u32,
    /// The namespace has changed since the log page was read.
    changed: bool,
}

impl Events {
    /// Takes a request.
    pub(crate) fn request(&mut self, cid: u16) -> Outcome {
        if self.requests.len() > usize::from(AERL) {
            return Some((0, status::EVENT_LIMIT | status::DO_NOT_RETRY));
        }
        self.requests.push(cid);
        None
    }

    /// Ends a request; false if there is none.
    pub(crate) fn abort(&mut self, cid: u16) -> bool {
        let at = self.requests.iter().position(|request| *request == cid);
        at.map(|at| self.requests.remove(at)).is_some()
    }

    fn happened(&mut self, kind: u32, info: u32, log: u32) {
        let event = admin::EVENT_TYPE.put(kind) | admin::EVENT_INFO.put(info) | admin::EVENT_LOG.put(log);
        if !self.pending.contains(&event) {
            self.pending.push(event);
        }
    }

    /// Notes that the driver did something wrong.
    pub(crate) fn error(&mut self, info: u32) {
        self.happened(admin::EVENT_ERROR, info, admin::LOG_ERRORS);
    }

    /// Notes that the namespace has changed.
    pub(crate) fn namespace_changed(&mut self) {
        self.changed = true;
        if self.enabled & admin::EVENTS_NAMESPACES != 0 {
            self.happened(admin::EVENT_NOTICE, admin::NOTICE_NAMESPACE, admin::LOG_CHANGED);
        }
    }

    /// Takes an event that may be reported now, and the request that it answers.
    fn next(&mut self) -> Option<(u16, u32)> {
        let may = |event: &u32| self.masked & 1 << admin::EVENT_TYPE.get(*event) == 0;
        let at = self.pending.iter().position(may).filter(|_| !self.requests.is_empty())?;
        let event = self.pending.remove(at);
        self.masked |= 1 << admin::EVENT_TYPE.get(event);
        Some((self.requests.remove(0), event))
    }

    /// Reads a log page, after which its events are reported again unless it `retains` them; `None` if there is none.
    /// `namespace` is the one that may have changed.
    pub(crate) fn log(&mut self, page: u32, retains: bool, namespace: u32) -> Option<Vec<u8>> {
        let kind = match page {
            admin::LOG_ERRORS => admin::EVENT_ERROR,
            admin::LOG_HEALTH => admin::EVENT_HEALTH,
            admin::LOG_CHANGED => admin::EVENT_NOTICE,
            _ => return None,
        };
        let mut bytes = vec![0; 4096];
        if page == admin::LOG_CHANGED && self.changed {
            bytes[..4].copy_from_slice(&namespace.to_le_bytes());
        }
        if !retains {
            self.masked &= !(1 << kind);
            self.changed &= page != admin::LOG_CHANGED;
        }
        Some(bytes)
    }
}

impl Model {
    /// Tells events to those that asked.
    pub(crate) fn tell_events(&mut self) {
        while self.works()
            && self.completions.first().is_some_and(|queue| !queue.is_full())
            && let Some((cid, event)) = self.events.next()
        {
            self.post(0, cid, event, status::SUCCESS);
        }
    }
}
