//! A small driver, as careful as a driver has to be.

use nook_bus::{DmaWindow, IrqKind, PciDevice};
use nook_regs::{Register, Value};
use nvme_model::{Behaviour, Disk, Model, ModelConfig};
use nvme_regs::command::{self, Command};
use nvme_regs::{ACQ, AQA, ASQ, CC, CQHDBL, CSTS, SQTDBL, admin, completion, nvm};
use vm_memory::Bytes;

pub const IOVA: u64 = 1 << 32;
pub const BLOCK: usize = 512;
pub const BLOCKS: u64 = 4096;
/// Entries of each queue: few, so that they wrap.
pub const ENTRIES: u32 = 8;
/// Where data goes, after the queues.
pub const DATA: u64 = 0x10_0000;

pub const CALM: Behaviour = Behaviour::calm();

/// A completion: the command's identifier, its result and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub cid: u16,
    pub result: u32,
    pub status: u16,
}

/// The driver's side of a pair of queues.
struct Pair {
    sq: u64,
    cq: u64,
    tail: u32,
    head: u32,
    phase: bool,
}

pub struct Rig {
    pub model: Model,
    pub disk: Disk,
    pub window: DmaWindow,
    pub now_ns: u64,
    /// Interrupts that came.
    pub irqs: u32,
    pairs: [Pair; 2],
    next_cid: u16,
}

fn pair(at: u64) -> Pair {
    Pair { sq: at, cq: at + 0x1000, tail: 0, head: 0, phase: true }
}

impl Rig {
    pub fn new(seed: u64, behaviour: Behaviour) -> Self {
        Self::with_disk(seed, behaviour, Disk::in_memory(BLOCKS, BLOCK as u32).unwrap().with_cache(8 << 20))
    }

    pub fn with_disk(seed: u64, behaviour: Behaviour, disk: Disk) -> Self {
        let window = DmaWindow::new(4 << 20).unwrap();
        let mut model = Model::new(ModelConfig { seed, behaviour }, disk.clone());
        model.dma_map(&window, IOVA).unwrap();
        model.set_bus_master(true).unwrap();
        Rig { model, disk, window, now_ns: 0, irqs: 0, pairs: [pair(0), pair(0x2000)], next_cid: 0 }
    }

    pub fn read<V: Value>(&mut self, register: Register<V>) -> V {
        V::from_u64(self.model.bar_read(0, register.offset(), V::WIDTH).unwrap())
    }

    pub fn write<V: Value>(&mut self, register: Register<V>, value: V) {
        self.model.bar_write(0, register.offset(), V::WIDTH, value.to_u64()).unwrap();
    }

    /// Lets the device work until it says that nothing is due, or time passes.
    pub fn work(&mut self) {
        let service = self.model.service(self.now_ns).unwrap();
        self.irqs |= service.irqs;
        self.now_ns = service.due_ns.unwrap_or(self.now_ns).max(self.now_ns + 100);
    }

    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..10_000 {
            if done(self) {
                return;
            }
            self.work();
        }
        panic!("{what} does not happen");
    }

    pub fn ready(&mut self) -> bool {
        self.read(CSTS) & CSTS::RDY != 0
    }

    /// Resets and enables the controller, with zeroed queues.
    pub fn enable(&mut self) {
        self.write(CC, 0);
        self.until("a reset", |rig| !rig.ready());
        self.pairs = [pair(0), pair(0x2000)];
        self.window.slice().write_slice(&[0; 0x4000], 0).unwrap();
        self.write(AQA, AQA::ASQS.put(ENTRIES - 1) | AQA::ACQS.put(ENTRIES - 1));
        self.write(ASQ, IOVA + self.pairs[0].sq);
        self.write(ACQ, IOVA + self.pairs[0].cq);
        let sizes = CC::IOSQES.put(command::LOG_BYTES) | CC::IOCQES.put(completion::LOG_BYTES);
        self.write(CC, sizes | CC::EN);
        self.until("readiness", |rig| rig.ready());
    }

    /// Starts everything: interrupts by message, and one I/O queue pair with vector 1.
    pub fn start(&mut self) {
        assert_eq!(self.model.irq_enable(2).unwrap(), (IrqKind::MsiX, 2));
        self.enable();
        let queues = Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_QUEUES);
        assert_eq!(self.admin(queues).status, 0);
        let size = admin::QUEUE_ID.put(1) | admin::QUEUE_SIZE.put(ENTRIES - 1);
        let cq = Command::new(admin::CREATE_CQ, 0).data(IOVA + self.pairs[1].cq, 0).dword(10, size);
        let how = admin::CONTIGUOUS | admin::INTERRUPTS | admin::VECTOR.put(1);
        assert_eq!(self.admin(cq.dword(11, how)).status, 0);
        let sq = Command::new(admin::CREATE_SQ, 0).data(IOVA + self.pairs[1].sq, 0).dword(10, size);
        assert_eq!(self.admin(sq.dword(11, admin::CONTIGUOUS | admin::CQ_ID.put(1))).status, 0);
    }

    pub fn started(seed: u64, behaviour: Behaviour) -> Self {
        let mut rig = Rig::new(seed, behaviour);
        rig.start();
        rig
    }

    /// Puts a command into queue `queue` (0 is admin), rings, and returns its identifier.
    pub fn send(&mut self, queue: usize, command: Command) -> u16 {
        let cid = self.next_cid;
        self.next_cid = self.next_cid.wrapping_add(1);
        let pair = &mut self.pairs[queue];
        for (at, word) in command.id(cid).0.iter().enumerate() {
            let place = pair.sq as usize + pair.tail as usize * 64 + at * 4;
            self.window.slice().write_obj(*word, place).unwrap();
        }
        pair.tail = (pair.tail + 1) % ENTRIES;
        let tail = pair.tail;
        self.write(SQTDBL.get(queue as u32), tail);
        cid
    }

    /// Takes the next completion of a queue, if there is one.
    pub fn taken(&mut self, queue: usize) -> Option<Answer> {
        let pair = &mut self.pairs[queue];
        let place = pair.cq as usize + pair.head as usize * 16;
        let word = |at: usize| self.window.slice().read_obj::<u32>(place + at * 4).unwrap();
        let last = word(completion::STATUS_WORD);
        if (last & completion::PHASE != 0) != pair.phase {
            return None;
        }
        let answer = Answer {
            cid: completion::CID.get(last) as u16,
            result: word(completion::RESULT_WORD),
            status: completion::STATUS.get(last) as u16,
        };
        pair.head = (pair.head + 1) % ENTRIES;
        pair.phase ^= pair.head == 0;
        let head = pair.head;
        self.write(CQHDBL.get(queue as u32), head);
        Some(answer)
    }

    pub fn answer(&mut self, queue: usize) -> Answer {
        let mut found = None;
        self.until("a completion", |rig| {
            found = rig.taken(queue);
            found.is_some()
        });
        found.unwrap()
    }

    pub fn admin(&mut self, command: Command) -> Answer {
        let cid = self.send(0, command);
        let answer = self.answer(0);
        assert_eq!(answer.cid, cid);
        answer
    }

    /// Does one I/O command, again as long as the device asks for that.
    pub fn io(&mut self, command: Command) -> u16 {
        loop {
            let cid = self.send(1, command);
            let answer = self.answer(1);
            assert_eq!(answer.cid, cid);
            let again = [nvme_regs::status::INTERRUPTED, nvme_regs::status::NAMESPACE_NOT_READY];
            if !again.contains(&answer.status) {
                return answer.status;
            }
        }
    }

    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.window.slice().write_slice(bytes, at as usize).unwrap();
    }

    pub fn get(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.window.slice().read_slice(&mut bytes, at as usize).unwrap();
        bytes
    }
}

/// Returns a read or a write of up to two pages at [`DATA`].
pub fn transfer(opcode: u8, first: u64, blocks: u32) -> Command {
    let data = IOVA + DATA;
    Command::new(opcode, 1).data(data, data + 4096).first_block(first).dword(12, nvm::BLOCKS.put(blocks - 1))
}

pub fn write(first: u64, blocks: u32) -> Command {
    transfer(nvm::WRITE, first, blocks)
}

pub fn read(first: u64, blocks: u32) -> Command {
    transfer(nvm::READ, first, blocks)
}
