//! Byte buffers that are used again, and the pool that a worker keeps of them.
//!
//! A buffer never gives out uninitialised memory, and the pool never keeps one that has grown for an outsized head.

use std::cell::RefCell;

/// Size of the buffers that heads and small bodies pass through.
pub(crate) const SMALL: usize = 16 * 1024;
/// Size of the buffers that long bodies are moved to.
pub(crate) const LARGE: usize = 64 * 1024;

/// How many buffers of each size a worker keeps for later.
const KEPT_SMALL: usize = 1024;
const KEPT_LARGE: usize = 64;

/// Bytes that have come in and have not gone out yet, with room behind them.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], start: 0, end: 0 }
    }

    /// Appends, growing if it must.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Appends all of these.
    pub(crate) fn put_all(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.put(part);
        }
    }

    /// Drops the first `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end, "only what is there can be consumed");
        if self.start == self.end {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The room behind the bytes; tell by `filled_up` how much of it was used.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    pub(crate) fn filled_up(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.bytes.len(), "only the room can be filled");
    }

    /// Makes room for `n` bytes: by moving what is there to the front, else by growing.
    pub(crate) fn reserve(&mut self, n: usize) {
        if self.spare() < n {
            self.make_room(n);
        }
    }

    #[cold]
    fn make_room(&mut self, n: usize) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.spare() < n {
            self.bytes.resize((self.end + n).next_power_of_two(), 0);
        }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much room there is without growing or moving.
    pub(crate) fn spare(&self) -> usize {
        self.bytes.len() - self.end
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

/// A worker's buffers that nobody uses at the moment. Idle connections hold none.
#[derive(Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Buffer>>,
    large: RefCell<Vec<Buffer>>,
}

impl Buffers {
    /// An empty small buffer.
    pub(crate) fn take(&self) -> Buffer {
        self.small.borrow_mut().pop().unwrap_or_else(|| Buffer::with_capacity(SMALL))
    }

    /// Moves the bytes of a small buffer to a large one.
    pub(crate) fn enlarge(&self, buffer: &mut Buffer) {
        if buffer.capacity() < LARGE {
            let mut large = self.large.borrow_mut().pop().unwrap_or_else(|| Buffer::with_capacity(LARGE));
            large.put(buffer.filled());
            self.give(std::mem::replace(buffer, large));
        }
    }

    /// Takes a buffer back. One that has been dropped instead is simply freed.
    pub(crate) fn give(&self, mut buffer: Buffer) {
        let (pool, most) = match buffer.capacity() {
            SMALL => (&self.small, KEPT_SMALL),
            LARGE => (&self.large, KEPT_LARGE),
            _ => return,
        };
        let mut pool = pool.borrow_mut();
        if pool.len() < most {
            buffer.clear();
            pool.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_moving_and_growing() {
        let mut buffer = Buffer::with_capacity(8);
        buffer.put(b"abcdef");
        buffer.consume(4);
        buffer.put(b"ghij");
        assert_eq!(buffer.filled(), b"efghij");
        assert_eq!(buffer.capacity(), 8, "moving to the front was enough");
        buffer.put(b"0123456789");
        assert_eq!(buffer.filled(), b"efghij0123456789");
    }

    #[test]
    fn the_pool_hands_out_empty_buffers_and_drops_outgrown_ones() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.put(b"secret");
        buffers.give(buffer);
        assert!(buffers.take().is_empty());

        let mut outgrown = buffers.take();
        outgrown.put(&vec![0; LARGE + 1]);
        buffers.give(outgrown);
        assert!(buffers.small.borrow().is_empty() && buffers.large.borrow().is_empty());
    }

    #[test]
    fn enlarging_keeps_the_bytes() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.put(b"abc");
        buffers.enlarge(&mut buffer);
        assert_eq!((buffer.filled(), buffer.capacity()), (&b"abc"[..], LARGE));
    }
}
