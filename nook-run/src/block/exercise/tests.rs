use std::collections::VecDeque;

use super::*;

const BLOCKS: u64 = 1024;

/// A disk that answers one request after the other, and may have mistakes.
struct Disk {
    content: Vec<u8>,
    /// Which write, counted from 0, goes nowhere.
    lost: Option<u64>,
    /// Which goes to the unit after its own.
    astray: Option<u64>,
    /// Which is answered with an error.
    failed: Option<u64>,
    writes: u64,
}

impl Disk {
    fn new() -> Self {
        Disk { content: vec![0; BLOCKS as usize * 512], lost: None, astray: None, failed: None, writes: 0 }
    }

    fn serve(&mut self, exercise: &mut Exercise) {
        let geometry = Geometry { block_bytes: 512, blocks: BLOCKS, max_blocks: 64, ..Geometry::default() };
        exercise.attach(&geometry).unwrap();
        let mut queue = VecDeque::new();
        while !exercise.is_over() {
            while let Some(request) = exercise.next().unwrap() {
                let mut data = vec![0; request.blocks as usize * 512];
                if request.op == Op::Write {
                    exercise.fill(request.id, VolatileSlice::from(&mut data[..])).unwrap();
                }
                queue.push_back((request, data));
            }
            let Some((request, mut data)) = queue.pop_front() else { continue };
            let mut at = request.first as usize * 512;
            let mut outcome = Outcome::Done;
            if request.op == Op::Write {
                let this = Some(self.writes);
                self.writes += 1;
                at = if self.astray == this { (at + 4096) % self.content.len() } else { at };
                if self.failed == this {
                    outcome = Outcome::IoError;
                } else if self.lost != this {
                    self.content[at..at + data.len()].copy_from_slice(&data);
                }
            }
            let len = data.len();
            data.copy_from_slice(&self.content[at..at + len]);
            let read = (request.op == Op::Read).then(|| VolatileSlice::from(&mut data[..]));
            exercise.complete(request.id, outcome, read).unwrap();
        }
    }
}

fn exercise(steps: &[Step]) -> Exercise {
    let plan = Plan { steps: steps.into(), depth: 8, unit_bytes: 4096, requests: 500, at_least_ns: 0, seed: 3 };
    Exercise::new(plan, Clock::Monotonic)
}

#[test]
fn a_good_disk_holds_what_was_written_whatever_the_steps_are() {
    let mut exercise = exercise(&[Step::Write, Step::Read, Step::Fsync, Step::Verify]);
    Disk::new().serve(&mut exercise);
    assert!(exercise.went_well());
    let requests: Vec<u64> = exercise.reports().iter().map(|report| report.requests).collect();
    assert_eq!(requests[..3], [500, 500, 500]);
    assert!((100..=128).contains(&requests[3]), "{requests:?}");
    assert!(exercise.reports().iter().all(|report| report.p50_ns <= report.p999_ns && report.bytes > 0));
}

#[test]
fn a_write_that_went_nowhere_or_elsewhere_is_found() {
    for (lost, astray) in [(Some(499), None), (None, Some(499))] {
        let mut exercise = exercise(&[Step::Write, Step::Verify]);
        Disk { lost, astray, ..Disk::new() }.serve(&mut exercise);
        assert!(exercise.is_over() && !exercise.went_well());
        assert!(exercise.reports()[1].wrong >= 1);
    }
}

#[test]
fn a_write_that_failed_is_an_error_and_no_wrong_content() {
    let mut exercise = exercise(&[Step::Write, Step::Verify]);
    Disk { failed: Some(499), ..Disk::new() }.serve(&mut exercise);
    assert_eq!((exercise.reports()[0].errors, exercise.reports()[1].wrong), (1, 0));
    assert!(!exercise.went_well());
}

#[test]
fn a_disk_that_is_too_small_or_takes_too_little_is_named() {
    for (blocks, max_blocks) in [(64, 64), (1024, 4)] {
        let mut exercise = exercise(&[Step::Read]);
        let geometry = Geometry { block_bytes: 512, blocks, max_blocks, ..Geometry::default() };
        exercise.attach(&geometry).unwrap();
        assert!(exercise.is_over() && exercise.error().is_some() && !exercise.went_well());
    }
}
