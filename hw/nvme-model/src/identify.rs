//! What the device says of itself (section 5.17.2; NVM 4.1.5).

use nvme_regs::identify::{BYTES, controller, namespace};
use nvme_regs::{admin, command, completion};

use crate::disk::ATOMIC_BLOCKS;
use crate::events::AERL;
use crate::io::MDTS;
use crate::model::Model;
use crate::registers::VERSION;

/// A data structure that is filled in.
struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, at: u32, bytes: &[u8]) {
        self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Puts text, padded with spaces to `len`.
    fn text(&mut self, at: u32, text: &str, len: usize) {
        let mut bytes = vec![b' '; len];
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.put(at, &bytes);
    }
}

impl Model {
    /// Returns the page of this CNS; `None` if there is none.
    pub(crate) fn identify(&self, cns: u32, nsid: u32) -> Option<Vec<u8>> {
        let mut page = Page(vec![0; BYTES as usize]);
        match cns {
            admin::CNS_CONTROLLER => self.controller(&mut page),
            admin::CNS_NAMESPACE if nsid == self.namespaces.disk => self.namespace(&mut page),
            // What is not there is described by zeros.
            admin::CNS_NAMESPACE => {
                if let Some(other) = self.namespaces.others.iter().find(|other| other.id == nsid) {
                    page.put(namespace::NSZE, &other.blocks.to_le_bytes());
                    page.put(namespace::LBAF, &other.format.to_le_bytes());
                    page.put(namespace::DPS, &[other.protection]);
                }
            }
            admin::CNS_ACTIVE => {
                for (at, id) in (0..).zip(self.namespaces.active().into_iter().filter(|id| *id > nsid)) {
                    page.put(4 * at, &id.to_le_bytes());
                }
            }
            _ => return None,
        }
        Some(page.0)
    }

    fn controller(&self, page: &mut Page) {
        page.put(controller::VID, &nvme_regs::VENDOR_MODEL.to_le_bytes());
        page.text(controller::SN, &format!("nook-model-{}", self.config.seed), controller::SN_BYTES);
        page.text(controller::MN, "nook embedded NVMe disk", controller::MN_BYTES);
        page.text(controller::FR, env!("CARGO_PKG_VERSION"), 8);
        page.put(controller::MDTS, &[MDTS]);
        page.put(controller::VER, &VERSION.to_le_bytes());
        page.put(controller::OAES, &admin::EVENTS_NAMESPACES.to_le_bytes());
        page.put(controller::ACL, &[3]);
        page.put(controller::AERL, &[AERL]);
        let sizes = |log: u32| [(log | log << 4) as u8];
        page.put(controller::SQES, &sizes(command::LOG_BYTES));
        page.put(controller::CQES, &sizes(completion::LOG_BYTES));
        page.put(controller::NN, &self.namespaces.most.to_le_bytes());
        let optional = controller::ONCS_DATASET_MANAGEMENT | controller::ONCS_WRITE_ZEROES;
        page.put(controller::ONCS, &optional.to_le_bytes());
        page.put(controller::VWC, &[if self.disk.has_cache() { controller::VWC_PRESENT } else { 0 }]);
        let atomic = (ATOMIC_BLOCKS as u16 - 1).to_le_bytes();
        page.put(controller::AWUN, &atomic);
        page.put(controller::AWUPF, &atomic);
    }

    fn namespace(&self, page: &mut Page) {
        let (blocks, block_bytes) = self.disk.size();
        for at in [namespace::NSZE, namespace::NCAP, namespace::NUSE] {
            page.put(at, &blocks.to_le_bytes());
        }
        page.put(namespace::DLFEAT, &[namespace::DLFEAT_ZEROS]);
        page.put(namespace::LBAF, &(block_bytes.ilog2() << 16).to_le_bytes());
    }
}
