//! [`VirtioBlk`]: the driver of one disk.

use nook_sdk::{
    BlockDriver, BlockOp, Completing, Disk, DmaBytes, DmaRegion, Irq, Kernel, Nook, Poll, ProbeReason, Record, Request,
    RequestTable, Requested, Status, disk_flags, error, warn,
};
use nook_virtio::{Device, DeviceType, Queue, Transport, Used};
use virtio_regs::blk::{self, SECTOR_BYTES, feature, request};

/// The one queue that is used, and its length: three descriptors for each request.
const QUEUE: u16 = 0;
const ENTRIES: usize = 128;
/// Requests at a time: the manifest asks for as many.
const SLOTS: usize = 30;
/// Parts of a request that are the driver's: its header, the segment of a discard, and the status; and where the serial
/// number goes, which is asked for in place of a request.
const SLOT_BYTES: u32 = 64;
const SEGMENT_AT: u32 = 16;
const STATUS_AT: u32 = 32;
const ID_AT: u32 = SLOT_BYTES * SLOTS as u32;
/// What a status is until the device writes it: none of the standard's.
const NO_STATUS: u8 = 0xff;

/// How long `probe` waits for the serial number, and `stop` for requests.
const PATIENCE_NS: u64 = 2_000_000_000;
const LOOK_NS: u64 = 200_000;
/// How often its length is read until it stays as it is.
const LOOKS: u32 = 16;

/// What is kept of a request: how many bytes the device has to write for it.
#[derive(Clone, Copy)]
struct Kept {
    to_be_written: u32,
}

impl Record<1> for Kept {
    fn to_words(self) -> [u64; 1] {
        [self.to_be_written.into()]
    }
    fn from_words([to_be_written]: [u64; 1]) -> Self {
        Kept { to_be_written: to_be_written as u32 }
    }
}

/// The driver of one disk.
pub struct VirtioBlk<K: Kernel> {
    nook: Nook<K>,
    device: Device<K>,
    /// There while the device is on.
    queue: Option<Queue<ENTRIES>>,
    /// The parts of each request that are the driver's.
    own: DmaRegion<K>,
    requests: RequestTable<Kept, 1, SLOTS>,
    disk: Disk,
}

impl<K: Kernel> BlockDriver<K> for VirtioBlk<K> {
    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        if nook.most_requests() > SLOTS as u32 {
            error!(nook, "the host gives {} requests at a time, and the driver keeps {SLOTS}", nook.most_requests());
            return Err(Status::Invalid);
        }
        let device = Device::new(nook, DeviceType::Block)?;
        let own = nook.dma_alloc(ID_AT + SLOT_BYTES, 4096)?;
        let (requests, disk) = (RequestTable::new(), Disk::default());
        let mut driver = VirtioBlk { nook, device, queue: None, own, requests, disk };
        let found = driver.identify();
        driver.turn_off()?;
        driver.disk = found?;
        Ok(driver)
    }

    fn disk(&self) -> Disk {
        self.disk
    }

    fn remove(mut self) {
        // It says why it cannot.
        let _ = self.device.reset();
    }

    fn open(&mut self) -> Result<(), Status> {
        self.device.enable_interrupts()?;
        if let Err(status) = self.turn_on() {
            let _ = self.turn_off();
            self.device.disable_interrupts()?;
            return Err(status);
        }
        self.nook.poll_schedule(0);
        Ok(())
    }

    fn stop(&mut self, completing: &mut Completing<'_>) -> Result<(), Status> {
        if self.queue.is_none() {
            return Ok(());
        }
        let nook = self.nook;
        let drained = nook.poll_until(PATIENCE_NS, LOOK_NS, || {
            self.begin();
            self.complete(completing);
            self.requests.ids().next().is_none()
        });
        if drained.is_err() {
            warn!(nook, "some requests are not completed: they end with the queue");
        }
        self.turn_off()?;
        for id in 0..SLOTS as u32 {
            if self.requests.has(id)
                && let Some(place) = completing.vacant()
                && let Some(ticket) = self.requests.take(id)
            {
                place.unused(ticket);
            }
        }
        self.device.disable_interrupts()
    }

    fn poll(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> Poll {
        self.begin();
        let more = self.complete(completing);
        self.submit(requested, completing);
        let waiting = self.queue.as_mut().is_some_and(|queue| queue.end(&self.device));
        if more || waiting { Poll::Again } else { Poll::Idle }
    }

    fn irq(&mut self, vector: u32) -> Irq {
        let causes = self.device.causes(vector);
        // Ends the driver: the next one resets the disk.
        assert!(!causes.config || !self.device.needs_reset(), "the disk says that it needs a reset");
        match causes.queues {
            true => Irq::HandledPoll,
            false if causes.config => Irq::Handled,
            false => Irq::NotMine,
        }
    }
}

impl<K: Kernel> VirtioBlk<K> {
    /// Negotiates and takes the queue into use. Returns the features that are agreed on.
    fn turn_on(&mut self) -> Result<u64, Status> {
        let wanted = feature::SIZE_MAX
            | feature::RO
            | feature::BLK_SIZE
            | feature::FLUSH
            | feature::DISCARD
            | feature::WRITE_ZEROES;
        let agreed = self.device.negotiate(wanted)?;
        self.queue = Some(self.device.queue(QUEUE)?);
        // QEMU takes a device whose DMA is off for one that is not started.
        self.nook.dma_enable()?;
        self.device.start();
        Ok(agreed)
    }

    /// Resets the disk: it ends what it has, and touches no memory any more.
    fn turn_off(&mut self) -> Result<(), Status> {
        let silent = self.device.reset();
        self.nook.dma_disable()?;
        self.queue = None;
        silent
    }

    /// Finds out what the disk is.
    fn identify(&mut self) -> Result<Disk, Status> {
        let agreed = self.turn_on()?;
        let (regs, has) = (self.device.regs(), |feature| agreed & feature != 0);
        // Until nothing has changed between the two halves (4.1.4.3).
        let sectors = (0..LOOKS).find_map(|_| {
            let generation = self.device.read_config_generation();
            let sectors = u64::from(regs.read(blk::CAPACITY_LOW)) | u64::from(regs.read(blk::CAPACITY_HIGH)) << 32;
            (self.device.read_config_generation() == generation).then_some(sectors)
        });
        let Some(sectors) = sectors else {
            error!(self.nook, "the disk's length changes all the time");
            return Err(Status::Unsupported);
        };
        let block_bytes = if has(feature::BLK_SIZE) { regs.read(blk::BLK_SIZE) } else { SECTOR_BYTES };
        if !block_bytes.is_power_of_two() || block_bytes < SECTOR_BYTES {
            error!(self.nook, "the disk has blocks of {block_bytes} bytes");
            return Err(Status::Unsupported);
        }
        let sectors_of_block = block_bytes / SECTOR_BYTES;
        let most_bytes = if has(feature::SIZE_MAX) { regs.read(blk::SIZE_MAX) } else { u32::MAX };
        let zeroes = [
            (feature::DISCARD, blk::MAX_DISCARD_SECTORS, disk_flags::DISCARD),
            (feature::WRITE_ZEROES, blk::MAX_WRITE_ZEROES_SECTORS, disk_flags::WRITE_ZEROES),
        ];
        let (mut max_zeroes, mut flags) = (u32::MAX, 0);
        for (feature, most_sectors, flag) in zeroes {
            // One segment at a time, as the driver sends it, is always allowed.
            let most = if has(feature) { regs.read(most_sectors) / sectors_of_block } else { 0 };
            if most > 0 {
                (max_zeroes, flags) = (max_zeroes.min(most), flags | flag);
            }
        }
        for (feature, flag) in [(feature::RO, disk_flags::READ_ONLY), (feature::FLUSH, disk_flags::VOLATILE_CACHE)] {
            flags |= if has(feature) { flag } else { 0 };
        }
        Ok(Disk {
            blocks: sectors / u64::from(sectors_of_block),
            block_bytes,
            max_blocks: most_bytes.min(self.nook.transfer_bytes()) / block_bytes,
            max_zeroes: if flags & (disk_flags::DISCARD | disk_flags::WRITE_ZEROES) == 0 { 0 } else { max_zeroes },
            flags,
            serial: self.serial()?,
        })
    }

    /// Asks the disk for its serial number, and waits for it.
    fn serial(&mut self) -> Result<[u8; 40], Status> {
        let (nook, mut id) = (self.nook, [0; request::ID_BYTES as usize]);
        let (header, status) = own_parts(self.own.bytes(), 0, request::GET_ID, 0)?;
        let into = self.own.bytes().part(ID_AT, request::ID_BYTES)?;
        let Some(queue) = &mut self.queue else { return Err(Status::Busy) };
        queue.add(0, &[header], &[into, status])?;
        queue.end(&self.device);
        queue.begin(&self.device);
        let mut taken = Ok(None);
        let answered = nook.poll_until(PATIENCE_NS, LOOK_NS, || {
            taken = queue.take();
            taken != Ok(None)
        });
        taken?;
        if answered.is_err() {
            error!(nook, "the disk does not answer: does it reach memory? behind vfio-pci it needs iommu_platform=on");
            return Err(Status::Timeout);
        }
        let mut code = [0];
        status.read_bytes(0, &mut code)?;
        into.read_bytes(0, &mut id)?;
        Ok(Disk::serial_of(if code == [request::OK] { &id } else { &[] }))
    }

    /// Tells the disk what earlier calls have added.
    fn begin(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.begin(&self.device);
        }
    }

    /// Answers requests that are done. Returns whether it stopped before there was nothing left.
    ///
    /// # Panics
    /// If the disk makes no sense any more: that ends the driver, and the next one resets it.
    fn complete(&mut self, completing: &mut Completing<'_>) -> bool {
        const STRAY: &str = "the disk is done with what it was not given";
        let Some(queue) = &mut self.queue else { return false };
        loop {
            let Some(place) = completing.vacant() else { return true };
            let Some(Used { cookie, written }) = queue.take().expect(STRAY) else { return false };
            let kept = self.requests.get(cookie).expect(STRAY);
            let ticket = self.requests.take(cookie).expect(STRAY);
            let mut code = [NO_STATUS];
            self.own.bytes().read_bytes(cookie * SLOT_BYTES + STATUS_AT, &mut code).expect(STRAY);
            // One whose memory the disk does not reach says that all went well, and has written nothing.
            if code == [request::OK] && written >= kept.to_be_written {
                place.done(ticket);
            } else {
                place.failed(ticket, code[0].into());
            }
        }
    }

    /// Gives the disk what is asked, as far as there is room.
    fn submit(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) {
        while self.queue.as_ref().is_some_and(|queue| queue.room() >= nook_virtio::MOST_PARTS) {
            let Some(asked) = requested.next() else { return };
            let to_be_written = 1 + if asked.op == BlockOp::Read { asked.data.len_bytes() } else { 0 };
            let added = self.add(&asked);
            let kept = self.requests.keep(asked.ticket, Kept { to_be_written });
            // What a host that is not broken gives can be kept and added.
            let refused = match (kept, added) {
                (Ok(_), Ok(())) => None,
                (Ok(id), Err(_)) => self.requests.take(id),
                (Err(ticket), _) => Some(ticket),
            };
            if let (Some(ticket), Some(place)) = (refused, completing.vacant()) {
                place.failed(ticket, 0);
            }
        }
    }

    /// Adds a request to the queue.
    fn add(&mut self, asked: &Request<'_>) -> Result<(), Status> {
        let id = asked.ticket.id();
        if id >= SLOTS as u32 || self.requests.has(id) {
            return Err(Status::Invalid);
        }
        let sectors_of_block = self.disk.block_bytes / SECTOR_BYTES;
        let sector = asked.first * u64::from(sectors_of_block);
        let (kind, first) = match asked.op {
            BlockOp::Read => (request::IN, sector),
            BlockOp::Write => (request::OUT, sector),
            BlockOp::Flush => (request::FLUSH, 0),
            BlockOp::Discard => (request::DISCARD, 0),
            BlockOp::WriteZeroes => (request::WRITE_ZEROES, 0),
        };
        let (header, status) = own_parts(self.own.bytes(), id, kind, first)?;
        let mut segment = [0; request::SEGMENT_BYTES as usize];
        segment[..8].copy_from_slice(&sector.to_le_bytes());
        segment[8..12].copy_from_slice(&(asked.blocks * sectors_of_block).to_le_bytes());
        let own_segment = self.own.bytes().part(id * SLOT_BYTES + SEGMENT_AT, request::SEGMENT_BYTES)?;
        own_segment.write_bytes(0, &segment)?;
        let Some(queue) = &mut self.queue else { return Err(Status::Busy) };
        match asked.op {
            BlockOp::Read => queue.add(id, &[header], &[asked.data, status]),
            BlockOp::Write => queue.add(id, &[header, asked.data], &[status]),
            BlockOp::Flush => queue.add(id, &[header], &[status]),
            BlockOp::Discard | BlockOp::WriteZeroes => queue.add(id, &[header, own_segment], &[status]),
        }
    }
}

/// Fills in the header of a request, and sets its status to none. Returns both.
fn own_parts(own: DmaBytes<'_>, id: u32, kind: u32, sector: u64) -> Result<(DmaBytes<'_>, DmaBytes<'_>), Status> {
    let at = id * SLOT_BYTES;
    let mut header = [0; request::HEADER_BYTES as usize];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    own.write_bytes(at, &header)?;
    own.write_bytes(at + STATUS_AT, &[NO_STATUS])?;
    Ok((own.part(at, request::HEADER_BYTES)?, own.part(at + STATUS_AT, 1)?))
}
