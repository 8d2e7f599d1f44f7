//! Pieces that the disk was asked for, by the numbers under which it knows them.

use crate::session::Piece;

/// A piece, and the client that it is for, which may be gone.
pub struct Asked {
    /// The client.
    pub client: u64,
    /// What was asked.
    pub piece: Piece,
}

/// All of them: as many as the disk takes at a time.
#[derive(Default)]
pub struct Pieces {
    places: Vec<(u32, Option<Asked>)>,
    free: Vec<u32>,
}

impl Pieces {
    /// Adds one and returns its number: no other one has had it for four billion uses of its place.
    pub fn add(&mut self, asked: Asked) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let (generation, entry) = &mut self.places[place as usize];
        *generation = generation.wrapping_add(1);
        *entry = Some(asked);
        u64::from(*generation) << 32 | u64::from(place)
    }

    /// Returns one.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Asked> {
        let (generation, entry) = self.places.get_mut(id as u32 as usize)?;
        if u64::from(*generation) != id >> 32 {
            return None;
        }
        entry.as_mut()
    }

    /// Removes one.
    pub fn remove(&mut self, id: u64) -> Option<Asked> {
        self.get_mut(id)?;
        self.free.push(id as u32);
        self.places[id as u32 as usize].1.take()
    }
}
