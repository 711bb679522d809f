//! What the store tells one server of changes, on its way there: late, merged, told twice, or lost with its connection.
//!
//! It keeps to what `Invalidation` promises, unless it is told to lie.

use std::collections::VecDeque;

use stayput::Timestamp;
use stayput_core::{Invalidation, PULSE_LIMIT};
use stayput_testkit::{Cause, Change, Ear};

/// A server's connection to what the store tells.
pub(crate) struct Stream {
    ear: Ear,
    /// What was changed and when, the oldest first.
    under_way: VecDeque<(Message, Timestamp)>,
    is_cut: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Changed(Change),
    Lost,
}

impl Stream {
    pub(crate) fn new(ear: Ear) -> Self {
        Self { ear, under_way: VecDeque::new(), is_cut: false }
    }

    /// Takes on its way what was changed since.
    pub(crate) fn take(&mut self, now: Timestamp) {
        let changes = self.ear.changes();
        if !self.is_cut {
            self.under_way.extend(changes.into_iter().map(|change| (Message::Changed(change), now)));
        }
    }

    /// The oldest message arrives; one that may be merged with those after it, or told twice, is if it `is_odd`.
    pub(crate) fn arrive(&mut self, is_odd: bool) -> bool {
        let Some((message, _)) = self.under_way.pop_front() else { return false };
        match message {
            Message::Lost => self.ear.hear(Invalidation::Lost),
            Message::Changed(change) => {
                if is_odd {
                    self.merge(change);
                }
                self.ear.hear(Invalidation::Changed(change.key));
                if is_odd && change.cause == Cause::Removal {
                    self.ear.hear(Invalidation::Changed(change.key));
                }
            }
        }
        true
    }

    /// A creation or a touch may share its message with a swap, but two swaps may not, nor a removal with anything.
    fn merge(&mut self, first: Change) {
        let mut swaps = u32::from(first.cause == Cause::Swap);
        while let Some((Message::Changed(next), _)) = self.under_way.front()
            && next.key == first.key
            && first.cause != Cause::Removal
            && next.cause != Cause::Removal
        {
            swaps += u32::from(next.cause == Cause::Swap);
            if swaps > 1 {
                return;
            }
            self.under_way.pop_front();
        }
    }

    /// The connection shows that it works, if it does: a pulse may overtake what was changed just now, nothing else.
    pub(crate) fn pulse(&mut self, now: Timestamp) -> bool {
        let is_old = |(message, changed): &(Message, Timestamp)| {
            *message == Message::Lost || changed.after(PULSE_LIMIT) <= now
        };
        let works = !self.is_cut && !self.under_way.iter().any(is_old);
        if works {
            self.ear.hear(Invalidation::Pulse);
        }
        works
    }

    /// The connection breaks: what is under way is lost, and so is what is changed until it is made again.
    pub(crate) fn cut(&mut self) {
        self.under_way.clear();
        self.is_cut = true;
    }

    /// The connection is made again. That something was lost is said first, which may take its time.
    pub(crate) fn mend(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.is_cut) {
            self.under_way.push_back((Message::Lost, now));
        }
    }

    /// Loses one message, and doesn't say so: a lie.
    pub(crate) fn lie(&mut self) {
        if let Some((Message::Changed(_), _)) = self.under_way.front() {
            self.under_way.pop_front();
        }
    }
}
