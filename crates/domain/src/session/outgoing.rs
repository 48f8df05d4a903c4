//! The numbers of what this side sent: what is on the way, what must be judged again.
//!
//! Job: hand out numbers without gaps, know which are acknowledged, and after a reconnect put
//! the owner's fresh answers back into order.
//!
//! Not here: the payloads themselves. A payload that was sent is forgotten, because its clearance
//! may have expired when it is needed again; the owner keeps what is pending and asks the gate.

use std::collections::{BTreeSet, VecDeque};

/// A place in the order that cannot leave before those in front of it.
enum Slot<P> {
    /// The owner was asked and has not answered.
    Asked,
    /// Ready to leave.
    Payload(P),
    /// Withdrawn.
    Void,
}

/// What may leave next.
pub(super) enum Ready<P> {
    Payload(P),
    Void,
}

pub(super) struct Outgoing<P> {
    /// Added to a number on the wire to get the owner's number, which is never used twice.
    base: u64,
    /// The last number given out, on the wire.
    last: u64,
    /// Everything up to here is durable on the other side.
    acked: u64,
    /// Numbers above `acked` whose payload was withdrawn.
    withdrawn: BTreeSet<u64>,
    /// Number of the first slot.
    slot_first: u64,
    /// Only after a reconnect, until the owner has answered for everything.
    slots: VecDeque<Slot<P>>,
}

impl<P> Outgoing<P> {
    pub(super) fn new() -> Self {
        Self { base: 0, last: 0, acked: 0, withdrawn: BTreeSet::new(), slot_first: 1, slots: VecDeque::new() }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.last == 0
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) fn on_the_way(&self) -> u64 {
        self.last - self.acked
    }

    pub(super) fn owners_number(&self, seq: u64) -> u64 {
        self.base.saturating_add(seq)
    }

    /// Starts again at 1 on the wire; the owner's numbers go on.
    pub(super) fn restart(&mut self) {
        *self = Self { base: self.base.saturating_add(self.last), ..Self::new() };
    }

    /// Gives the next number. The payload comes back if it may leave at once.
    pub(super) fn push(&mut self, payload: P) -> (u64, Option<P>) {
        self.last += 1;
        if self.slots.is_empty() {
            (self.last, Some(payload))
        } else {
            self.slots.push_back(Slot::Payload(payload));
            (self.last, None)
        }
    }

    /// Takes the other side's acknowledgement; true if it covers something new, `None` if it
    /// covers what was never sent.
    pub(super) fn acknowledge(&mut self, ack: u64) -> Option<bool> {
        if ack > self.last {
            return None;
        }
        if ack <= self.acked {
            return Some(false);
        }
        self.acked = ack;
        self.withdrawn = self.withdrawn.split_off(&(ack + 1));
        Some(true)
    }

    /// After a reconnect: everything the other side has not received gets a slot. Returns the
    /// owner's numbers to ask about.
    pub(super) fn reopen(&mut self, peer_received: u64) -> Vec<u64> {
        self.slot_first = peer_received.max(self.acked) + 1;
        self.slots.clear();
        let mut ask = Vec::new();
        for seq in self.slot_first..=self.last {
            if self.withdrawn.contains(&seq) {
                self.slots.push_back(Slot::Void);
            } else {
                self.slots.push_back(Slot::Asked);
                ask.push(self.owners_number(seq));
            }
        }
        ask
    }

    /// The connection is gone: what waited in slots will be asked for again.
    pub(super) fn close(&mut self) {
        self.slots.clear();
    }

    /// The owner's answer about one number; it comes back if nobody asked.
    pub(super) fn answer(&mut self, owners_seq: u64, payload: P) -> Result<(), P> {
        let Some((_, slot)) = self.asked(owners_seq) else { return Err(payload) };
        *slot = Slot::Payload(payload);
        Ok(())
    }

    /// The owner takes one number back for good; false if nobody asked.
    pub(super) fn withdraw(&mut self, owners_seq: u64) -> bool {
        let Some((seq, slot)) = self.asked(owners_seq) else { return false };
        *slot = Slot::Void;
        self.withdrawn.insert(seq);
        true
    }

    /// The number on the wire and the slot, if the owner was asked about it.
    fn asked(&mut self, owners_seq: u64) -> Option<(u64, &mut Slot<P>)> {
        let seq = owners_seq.checked_sub(self.base)?;
        let at = usize::try_from(seq.checked_sub(self.slot_first)?).ok()?;
        self.slots.get_mut(at).filter(|slot| matches!(slot, Slot::Asked)).map(|slot| (seq, slot))
    }

    /// The next thing in order that may leave, with its number.
    pub(super) fn pop(&mut self) -> Option<(u64, Ready<P>)> {
        if matches!(self.slots.front()?, Slot::Asked) {
            return None;
        }
        let seq = self.slot_first;
        let ready = match self.slots.pop_front()? {
            Slot::Payload(payload) => Ready::Payload(payload),
            Slot::Void | Slot::Asked => Ready::Void,
        };
        self.slot_first += 1;
        Some((seq, ready))
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.slots.len().max(self.withdrawn.len())
    }
}
