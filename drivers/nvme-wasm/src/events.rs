//! What the controller reports by itself (section 5.2).

use nook_sdk::{Kernel, Status, warn};
use nvme_regs::admin;
use nvme_regs::command::{ALL_NAMESPACES, Command};

use crate::driver::Nvme;
use crate::identify::{self, Namespace};

/// Words of a log page that are read: all of the longest that is.
const LOG_WORDS: u32 = 1024;
/// Words that each page has.
const SHORT_WORDS: u32 = 16;

impl<K: Kernel> Nvme<K> {
    /// Asks for events: of namespaces, if the controller reports those, and of what always is.
    pub(crate) fn ask_for_events(&mut self) -> Result<(), Status> {
        if self.events & admin::EVENTS_NAMESPACES != 0 {
            let ask = Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_EVENTS);
            self.chip.admin.command("Set Features (events)", ask.dword(11, admin::EVENTS_NAMESPACES))?;
        }
        self.chip.admin.request_event()
    }

    /// Looks at what was reported, and asks for the next. Process context only.
    pub(crate) fn follow_events(&mut self) -> Result<(), Status> {
        while let Some(event) = self.chip.admin.event.take() {
            let (kind, info, log) =
                (admin::EVENT_TYPE.get(event), admin::EVENT_INFO.get(event), admin::EVENT_LOG.get(event));
            if kind == admin::EVENT_NOTICE && info == admin::NOTICE_NAMESPACE {
                self.look_at_size()?;
            } else {
                warn!(self.nook, "the controller reports an event of type {kind}: {info:#x}, log page {log:#x}");
            }
            // Reading the page lets the controller report more of the kind.
            let words = if log == admin::LOG_CHANGED { LOG_WORDS } else { SHORT_WORDS };
            let page = admin::LOG.put(log) | admin::LOG_WORDS.put(words - 1);
            let namespace = if log == admin::LOG_CHANGED { 0 } else { ALL_NAMESPACES };
            if self.chip.page("Get Log Page", Command::new(admin::GET_LOG_PAGE, namespace).dword(10, page)).is_err() {
                warn!(self.nook, "log page {log:#x} cannot be read, so no more events of its kind come");
            }
            self.chip.admin.request_event()?;
        }
        Ok(())
    }

    fn look_at_size(&mut self) -> Result<(), Status> {
        let Namespace { blocks, log, .. } = identify::describe(self.nook, &mut self.chip, self.slots.namespace)?;
        if (blocks, 1 << log) != (self.disk.blocks, self.disk.block_bytes) {
            let (had, size) = (self.disk.blocks, 1u32 << log);
            warn!(
                self.nook,
                "the namespace has changed from {had} blocks to {blocks} of {size} bytes: a disk keeps its \
                size until the driver is loaded again"
            );
        }
        Ok(())
    }
}
