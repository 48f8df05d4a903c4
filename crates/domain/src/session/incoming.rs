//! The numbers of what this side received: what is durable, and when to say so.
//!
//! Job: tell the next payload from a repeated one and from a gap, and decide when an
//! acknowledgement must travel alone because nothing else is going that way.
//!
//! Not here: making anything durable. The owner says so, and nothing is acknowledged before
//! (invariant I3).

use std::collections::VecDeque;

use super::{ACK_DELAY_US, ACK_EVERY_FRAMES};

/// Where a numbered frame belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one; this is the owner's number for it.
    Next(u64),
    /// It came before.
    Repeated,
    /// Something in front of it is missing.
    Gap,
    /// The other side has more on the way than the window allows.
    Overflow,
}

pub(super) struct Incoming {
    /// Added to a number on the wire to get the owner's number, which is never used twice.
    base: u64,
    received: u64,
    durable: u64,
    /// Numbers above `durable` that hold nothing.
    voids: VecDeque<u64>,
    /// The acknowledgement that last left on this connection.
    told: u64,
    /// When the owner's last word must have left, at the latest.
    due_us: Option<u64>,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self { base: 0, received: 0, durable: 0, voids: VecDeque::new(), told: 0, due_us: None }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.received == 0
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Starts again at 1 on the wire; the owner's numbers go on, so that a late word about a
    /// payload of the old numbering cannot acknowledge one of the new.
    pub(super) fn restart(&mut self) {
        *self = Self { base: self.base.saturating_add(self.received), ..Self::new() };
    }

    /// A new connection: the other side may not have heard the last acknowledgement.
    pub(super) fn reopen(&mut self, now_us: u64) {
        self.told = 0;
        self.due_us = (self.durable > 0).then_some(now_us);
    }

    /// Takes a numbered frame; `void` if it holds nothing.
    pub(super) fn take(&mut self, seq: u64, void: bool, window: u64, now_us: u64) -> Place {
        if seq <= self.received {
            return Place::Repeated;
        }
        if seq != self.received + 1 {
            return Place::Gap;
        }
        if self.received - self.durable >= window {
            return Place::Overflow;
        }
        self.received = seq;
        if void {
            self.voids.push_back(seq);
            self.advance(self.durable, now_us);
        }
        Place::Next(self.base.saturating_add(seq))
    }

    /// The owner holds everything up to its number `owners_seq`.
    pub(super) fn durable(&mut self, owners_seq: u64, now_us: u64) {
        // Of an earlier numbering, or never received: nothing to say.
        let seq = owners_seq.saturating_sub(self.base).min(self.received);
        self.advance(seq.max(self.durable), now_us);
    }

    fn advance(&mut self, to: u64, now_us: u64) {
        let before = self.durable;
        self.durable = to;
        while let Some(void) = self.voids.front() {
            if *void > self.durable + 1 {
                break;
            }
            self.durable = self.durable.max(*void);
            self.voids.pop_front();
        }
        if self.durable > before {
            let due = now_us.saturating_add(ACK_DELAY_US);
            let due = if self.durable - self.told >= ACK_EVERY_FRAMES { now_us } else { due };
            self.due_us = Some(self.due_us.map_or(due, |earlier| earlier.min(due)));
        }
    }

    /// When an acknowledgement must leave by itself.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.due_us
    }

    /// The acknowledgement for a frame that leaves now.
    pub(super) fn tell(&mut self) -> u64 {
        self.told = self.durable;
        self.due_us = None;
        self.durable
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.voids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_is_durable_as_soon_as_all_in_front_of_it_is() {
        let mut incoming = Incoming::new();
        for (seq, void) in [(1, false), (2, true), (3, true), (4, false)] {
            assert_eq!(incoming.take(seq, void, 8, 0), Place::Next(seq));
        }
        assert_eq!(incoming.tell(), 0);
        incoming.durable(1, 0);
        assert_eq!(incoming.tell(), 3);
    }

    #[test]
    fn a_late_word_about_an_old_numbering_acknowledges_nothing() {
        let mut incoming = Incoming::new();
        assert_eq!(incoming.take(1, false, 8, 0), Place::Next(1));
        incoming.restart();
        assert_eq!(incoming.take(1, false, 8, 0), Place::Next(2));
        incoming.durable(1, 0);
        assert_eq!(incoming.tell(), 0);
        incoming.durable(2, 0);
        assert_eq!(incoming.tell(), 1);
    }

    #[test]
    fn lone_acknowledgements_wait_for_company_or_time() {
        let mut incoming = Incoming::new();
        for seq in 1..=ACK_EVERY_FRAMES {
            incoming.take(seq, false, 1024, 0);
        }
        incoming.durable(1, 5);
        assert_eq!(incoming.due_us(), Some(5 + ACK_DELAY_US));
        incoming.durable(ACK_EVERY_FRAMES, 6);
        assert_eq!(incoming.due_us(), Some(6));
    }
}
