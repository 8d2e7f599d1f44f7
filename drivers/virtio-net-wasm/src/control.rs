//! Commands to the card (5.1.6.5), and what is received.

use nook_sdk::{DmaBytes, Kernel, MacAddress, Nook, RxMode, Status, error};
use nook_virtio::{Device, Queue};
use virtio_regs::net::{command, queue};

/// How long a command may take, and how often it is looked whether it is done.
const PATIENCE_NS: u64 = 2_000_000_000;
const LOOK_NS: u64 = 50_000;
/// Parts of a command: what it is, what it says, and the answer.
const DATA_AT: u32 = 16;
const ANSWER_AT: u32 = 8;
/// Groups at most, and bytes of two tables with them.
const MOST_GROUPS: usize = 256;
const TABLES_BYTES: usize = 8 + 6 * MOST_GROUPS;
/// Bytes of memory that commands take.
pub(crate) const COMMAND_BYTES: u32 = DATA_AT + TABLES_BYTES as u32;
/// What an answer is until the card writes it.
const NO_ANSWER: u8 = 0xff;

/// The queue of commands.
pub(crate) struct Control(Queue<4>);

impl Control {
    pub(crate) fn new<K: Kernel>(device: &mut Device<K>) -> Result<Self, Status> {
        device.queue(queue::CONTROL).map(Control)
    }

    /// Has the card do a command, and waits. Process context only, where no call is rolled back: what it adds, the card
    /// sees at once.
    ///
    /// # Panics
    /// If the card does not answer.
    pub(crate) fn run<K: Kernel>(
        &mut self,
        nook: Nook<K>,
        device: &Device<K>,
        memory: DmaBytes<'_>,
        command: [u8; 2],
        data: &[u8],
    ) -> Result<(), Status> {
        memory.write_bytes(0, &command)?;
        memory.write_bytes(ANSWER_AT, &[NO_ANSWER])?;
        memory.write_bytes(DATA_AT, data)?;
        let (head, said) = (memory.part(0, 2)?, memory.part(DATA_AT, data.len() as u32)?);
        let answer = memory.part(ANSWER_AT, 1)?;
        self.0.begin(device);
        self.0.add(0, &[head, said], &[answer])?;
        self.0.end(device);
        self.0.begin(device);
        let mut taken = Ok(None);
        let answered = nook.poll_until(PATIENCE_NS, LOOK_NS, || {
            taken = self.0.take();
            taken != Ok(None)
        });
        // It ends the driver, and the next one resets the card: it may still do the command, with other memory.
        assert!(taken.is_ok() && answered.is_ok(), "the card does not answer command {}.{}", command[0], command[1]);
        let mut code = [NO_ANSWER];
        answer.read_bytes(0, &mut code)?;
        if code != [command::OK] {
            error!(nook, "the card refuses command {}.{}: {:#x}", command[0], command[1], code[0]);
            return Err(Status::DeviceFailed);
        }
        Ok(())
    }
}

/// What is received besides frames to the card's address and to all.
pub(crate) struct Filter {
    promiscuous: bool,
    all_multicast: bool,
    groups: [MacAddress; MOST_GROUPS],
    count: usize,
}

impl Filter {
    pub(crate) const NONE: Filter =
        Filter { promiscuous: false, all_multicast: false, groups: [[0; 6]; MOST_GROUPS], count: 0 };

    /// `Invalid` if the list has what is not a group, or more than there is room for.
    pub(crate) fn of(mode: RxMode<'_>) -> Result<Self, Status> {
        let RxMode { promiscuous, all_multicast, multicast } = mode;
        let mut filter = Filter { promiscuous, all_multicast, ..Filter::NONE };
        if multicast.iter().any(|group| group[0] & 1 == 0) {
            return Err(Status::Invalid);
        }
        filter.groups.get_mut(..multicast.len()).ok_or(Status::Invalid)?.copy_from_slice(multicast);
        filter.count = multicast.len();
        Ok(filter)
    }

    /// Gives `send` the commands that say it.
    pub(crate) fn commands(&self, mut send: impl FnMut([u8; 2], &[u8]) -> Result<(), Status>) -> Result<(), Status> {
        let mut tables = [0; TABLES_BYTES];
        let groups = &self.groups[..self.count];
        // No single addresses, and the groups.
        tables[4..8].copy_from_slice(&(groups.len() as u32).to_le_bytes());
        tables[8..].as_chunks_mut().0.iter_mut().zip(groups).for_each(|(place, group)| *place = *group);
        send(command::MAC_TABLE_SET, &tables[..8 + 6 * groups.len()])?;
        send(command::ALLMULTI, &[self.all_multicast.into()])?;
        send(command::PROMISC, &[self.promiscuous.into()])
    }
}
