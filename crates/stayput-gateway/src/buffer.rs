//! Byte buffers that are used again, and the pool that a worker keeps of them.
//!
//! A buffer never gives out uninitialised memory, and the pool never keeps one that has grown for an outsized head, nor
//! one that nobody needs any more.
//!
//! Each buffer is a mapping of its own. From a heap it would not come back: between the buffers of a burst lie small things that
//! live on, and glibc gives back little but what is at a heap's end. Measured after a burst, of 75 MB none came back.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;

use memmap2::MmapMut;

/// Size of the buffers that heads and small bodies pass through.
pub(crate) const SMALL: usize = 16 * 1024;
/// Size of the buffers that long bodies are moved to.
pub(crate) const LARGE: usize = 64 * 1024;

/// How many sweeps, of which there is one a second, a buffer has to lie unused all the time to be given back: longer than the
/// pauses of a load that comes in waves, for which to map and clear memory again and again would cost more than it saves,
/// and short beside the minutes in which somebody looks at a process' memory.
const UNUSED_FOR: u32 = 10;

/// How many of a size are given back in one sweep: each takes some microseconds, in which the worker does nothing else.
const AT_ONCE: usize = 256;

/// Bytes that have come in and have not gone out yet, with room behind them.
#[derive(Default)]
pub(crate) struct Buffer {
    /// None while there is no room at all.
    memory: Option<MmapMut>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let memory = MmapMut::map_anon(capacity).expect("there is memory for a buffer");
        Self { memory: Some(memory), start: 0, end: 0 }
    }

    /// Appends, growing if it must.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Appends all of these.
    pub(crate) fn put_all(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.put(part);
        }
    }

    /// Drops the last `n` bytes.
    pub(crate) fn take_back(&mut self, n: usize) {
        self.end -= n;
        debug_assert!(self.start <= self.end, "only what is there can be taken back");
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
        let end = self.end;
        &mut self.bytes_mut()[end..]
    }

    pub(crate) fn filled_up(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.capacity(), "only the room can be filled");
    }

    /// Makes room for `n` bytes: by moving what is there to the front, else by growing.
    pub(crate) fn reserve(&mut self, n: usize) {
        if self.spare() < n {
            self.make_room(n);
        }
    }

    #[cold]
    fn make_room(&mut self, n: usize) {
        let filled = self.start..self.end;
        if self.capacity() < filled.len() + n {
            let mut larger = Self::with_capacity((filled.len() + n).next_power_of_two());
            larger.put(self.filled());
            *self = larger;
        } else {
            (self.start, self.end) = (0, filled.len());
            self.bytes_mut().copy_within(filled, 0);
        }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes()[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        let filled = self.start..self.end;
        &mut self.bytes_mut()[filled]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much room there is without growing or moving.
    pub(crate) fn spare(&self) -> usize {
        self.capacity() - self.end
    }

    fn capacity(&self) -> usize {
        self.bytes().len()
    }

    fn bytes(&self) -> &[u8] {
        self.memory.as_deref().unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.as_deref_mut().unwrap_or_default()
    }
}

/// A worker's buffers that nobody uses at the moment. Idle connections hold none.
pub(crate) struct Buffers {
    small: Shelf,
    large: Shelf,
}

/// Those of one size. What was put there last is taken first, so that what is at the bottom has lain there longest.
struct Shelf {
    size: usize,
    free: RefCell<Vec<Buffer>>,
    /// The fewest that lay here at any moment since some were last given back.
    fewest: Cell<usize>,
    /// How many are still to be given back of those at the bottom.
    surplus: Cell<usize>,
    sweeps: Cell<u32>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { small: Shelf::new(SMALL), large: Shelf::new(LARGE) }
    }
}

impl Buffers {
    /// An empty small buffer.
    pub(crate) fn take(&self) -> Buffer {
        self.small.take()
    }

    /// Gives room to a buffer that has none.
    pub(crate) fn lend(&self, buffer: &mut Buffer) {
        if buffer.memory.is_none() {
            *buffer = self.take();
        }
    }

    /// Takes back the room of a buffer that holds nothing.
    pub(crate) fn give_if_empty(&self, buffer: &mut Buffer) {
        if buffer.is_empty() {
            self.give(std::mem::take(buffer));
        }
    }

    /// Moves the bytes of a small buffer to a large one.
    pub(crate) fn enlarge(&self, buffer: &mut Buffer) {
        if buffer.capacity() < LARGE {
            let mut large = self.large.take();
            large.put(buffer.filled());
            self.give(std::mem::replace(buffer, large));
        }
    }

    /// Takes a buffer back. One that has been dropped instead is simply freed.
    pub(crate) fn give(&self, buffer: Buffer) {
        match buffer.capacity() {
            SMALL => self.small.give(buffer),
            LARGE => self.large.give(buffer),
            _ => {}
        }
    }

    /// Called once a second: gives back to the system what nobody has needed for [`UNUSED_FOR`].
    pub(crate) fn sweep(&self) {
        self.small.sweep();
        self.large.sweep();
    }
}

impl Shelf {
    fn new(size: usize) -> Self {
        Self {
            size,
            free: RefCell::default(),
            fewest: Cell::new(0),
            surplus: Cell::new(0),
            sweeps: Cell::new(0),
        }
    }

    fn take(&self) -> Buffer {
        let mut free = self.free.borrow_mut();
        let buffer = free.pop();
        if free.len() < self.fewest.get() {
            self.fewest.set(free.len());
        }
        buffer.unwrap_or_else(|| Buffer::with_capacity(self.size))
    }

    fn give(&self, mut buffer: Buffer) {
        buffer.clear();
        self.free.borrow_mut().push(buffer);
    }

    fn sweep(&self) {
        let mut free = self.free.borrow_mut();
        self.sweeps.set((self.sweeps.get() + 1) % UNUSED_FOR);
        if self.sweeps.get() == 0 {
            // As many as the fewest have been at the bottom all the time. Those that go are neighbours, since each hole
            // between mappings counts against the system's limit of mappings.
            free.sort_unstable_by_key(|buffer| Reverse(buffer.bytes().as_ptr().addr()));
            self.surplus.set(self.fewest.get());
            self.fewest.set(free.len());
        }
        // What was needed since is no surplus any more.
        let surplus = self.surplus.get().min(self.fewest.get());
        let given = surplus.min(AT_ONCE);
        free.drain(..given);
        free.shrink_to(2 * AT_ONCE);
        self.surplus.set(surplus - given);
        self.fewest.set(self.fewest.get() - given);
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
        assert!(buffers.small.free.borrow().is_empty() && buffers.large.free.borrow().is_empty());
    }

    #[test]
    fn what_nobody_needs_for_ten_sweeps_is_given_back_and_what_is_needed_in_waves_is_kept() {
        let buffers = Buffers::default();
        let kept = || buffers.small.free.borrow().len();
        let use_at_once = |n| {
            let taken: Vec<_> = (0..n).map(|_| buffers.take()).collect();
            for buffer in taken {
                buffers.give(buffer);
            }
        };
        use_at_once(1000);
        for wave in 0..5 {
            use_at_once(300);
            (0..UNUSED_FOR).for_each(|_| buffers.sweep());
            // The first ten sweeps began with none; those after the second ten give back 256 at a time.
            assert_eq!(kept(), [1000, 744, 300, 300, 300][wave], "after wave {wave}");
        }
        (0..2 * UNUSED_FOR).for_each(|_| buffers.sweep());
        assert_eq!(kept(), 0);
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
