//! A vector with reusable places, in chunks: it never moves what it holds and never doubles, so
//! that growth costs no spike of memory.

const CHUNK: usize = 4096;

#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    used: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(place) = self.free.pop()
            && let Some(slot) = self.place(place)
        {
            *slot = Some(value);
            return place;
        }
        let place = self.used;
        self.used += 1;
        if place as usize / CHUNK == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Some(value));
        }
        place
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.chunks
            .get(place as usize / CHUNK)?
            .get(place as usize % CHUNK)?
            .as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.place(place)?.as_mut()
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.place(place)?.take()?;
        self.free.push(place);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }

    /// What lies at `place` and after it, with its place.
    pub(super) fn iter_from(&self, place: u32) -> impl Iterator<Item = (u32, &T)> {
        let (first, skipped) = (place as usize / CHUNK, place as usize % CHUNK);
        let chunks = self.chunks.get(first..).unwrap_or_default();
        let places = chunks.iter().flatten().skip(skipped);
        (place..)
            .zip(places)
            .filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }

    fn place(&mut self, place: u32) -> Option<&mut Option<T>> {
        self.chunks
            .get_mut(place as usize / CHUNK)?
            .get_mut(place as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuses_places_and_never_holds_two_in_one() {
        let mut slab = Slab::default();
        let places: Vec<u32> = (0..10_000).map(|number| slab.insert(number)).collect();
        assert_eq!(slab.iter().count(), 10_000);
        for &place in places.iter().step_by(2) {
            assert!(slab.remove(place).is_some());
            assert!(slab.remove(place).is_none());
        }
        assert_eq!(slab.iter().count(), 5_000);
        let again: Vec<u32> = (0..5_000)
            .map(|number| slab.insert(100_000 + number))
            .collect();
        assert!(again.iter().all(|&place| place < 10_000));
        assert_eq!(slab.iter().count(), 10_000);
        for (place, expected) in again.iter().zip(100_000..) {
            assert_eq!(slab.get(*place), Some(&expected));
        }
        assert_eq!(slab.get(10_000), None);
    }
}
