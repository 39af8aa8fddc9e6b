//! Which sessions are open: by key, and by end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem::size_of;

/// What has become of the session in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    /// It is part of the one in this slot.
    Absorbed(u32),
    /// The slot is for the next session to take.
    Free,
}

#[derive(Debug, Clone, Copy)]
struct OpenSession {
    key: u32,
    start: i64,
    /// Exclusive: one gap after the last event.
    end: i64,
    /// The next session of the key, plus one; 0 is none.
    next: u32,
    fate: Fate,
    /// Tells sessions apart that were in this slot one after the other.
    turn: u32,
}

/// The sessions of all keys. Those of one key neither overlap nor touch; mostly there is one.
#[derive(Default)]
pub(super) struct OpenSessions {
    slots: Vec<OpenSession>,
    free: Vec<u32>,
    /// By key, the slot of its first session plus one; 0 is none.
    heads: Vec<u32>,
    /// Each open session once, at an end that it had: slot and turn say which it is, and it may
    /// end later by now.
    ends: BinaryHeap<Reverse<(i64, u32, u32)>>,
    open: usize,
}

/// Where an interval went.
pub(super) struct Joined {
    pub(super) slot: u32,
    /// Sessions that are one with it now. Their slots are taken until they are
    /// [freed](OpenSessions::free).
    pub(super) absorbed: Vec<u32>,
}

impl OpenSessions {
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Adds an interval: all sessions of the key that it overlaps or touches become one with it.
    pub(super) fn join(&mut self, key: u32, start: i64, end: i64) -> Joined {
        let mut joined: Option<u32> = None;
        let mut absorbed = vec![];
        let mut before: Option<u32> = None;
        let mut at = self.heads.get(key as usize).copied().unwrap_or(0);
        while let Some(slot) = at.checked_sub(1) {
            let session = self.slots[slot as usize];
            at = session.next;
            if session.start > end || session.end < start {
                before = Some(slot);
                continue;
            }
            match joined {
                None => {
                    let joined_session = &mut self.slots[slot as usize];
                    joined_session.start = session.start.min(start);
                    joined_session.end = session.end.max(end);
                    joined = Some(slot);
                    before = Some(slot);
                }
                Some(into) => {
                    let into_session = &mut self.slots[into as usize];
                    into_session.start = into_session.start.min(session.start);
                    into_session.end = into_session.end.max(session.end);
                    self.slots[slot as usize].fate = Fate::Absorbed(into);
                    self.open -= 1;
                    self.unlink(key, before, session.next);
                    absorbed.push(slot);
                }
            }
        }
        let slot = joined.unwrap_or_else(|| self.open(key, start, end));
        Joined { slot, absorbed }
    }

    /// Opens a session unless one of the key overlaps or touches it.
    pub(super) fn open_unless_known(&mut self, key: u32, start: i64, end: i64) -> Option<u32> {
        let mut at = self.heads.get(key as usize).copied().unwrap_or(0);
        while let Some(slot) = at.checked_sub(1) {
            let session = &self.slots[slot as usize];
            if session.start <= end && session.end >= start {
                return None;
            }
            at = session.next;
        }
        Some(self.open(key, start, end))
    }

    fn open(&mut self, key: u32, start: i64, end: i64) -> u32 {
        if self.heads.len() <= key as usize {
            self.heads.resize(key as usize + 1, 0);
        }
        let next = self.heads[key as usize];
        let mut session = OpenSession { key, start, end, next, fate: Fate::Open, turn: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                session.turn = self.slots[slot as usize].turn.wrapping_add(1);
                self.slots[slot as usize] = session;
                slot
            }
            None => {
                self.slots.push(session);
                self.slots.len() as u32 - 1
            }
        };
        self.heads[key as usize] = slot + 1;
        self.ends.push(Reverse((end, slot, session.turn)));
        self.open += 1;
        slot
    }

    /// Takes a session out of its key's list: the one before it is followed by `next`.
    fn unlink(&mut self, key: u32, before: Option<u32>, next: u32) {
        match before {
            Some(before) => self.slots[before as usize].next = next,
            None => self.heads[key as usize] = next,
        }
    }

    /// The session that this one is part of by now; mostly itself.
    pub(super) fn root(&self, slot: u32) -> u32 {
        let mut slot = slot;
        while let Fate::Absorbed(into) = self.slots[slot as usize].fate {
            slot = into;
        }
        slot
    }

    /// The open sessions whose end is not after the watermark, by their ends.
    pub(super) fn due(&mut self, watermark: i64) -> Vec<u32> {
        let mut due = vec![];
        while let Some(Reverse((end, slot, turn))) = self.ends.peek().copied() {
            if end > watermark {
                break;
            }
            self.ends.pop();
            let session = &self.slots[slot as usize];
            if session.fate != Fate::Open || session.turn != turn {
                continue;
            }
            match session.end > watermark {
                true => self.ends.push(Reverse((session.end, slot, turn))),
                false => due.push(slot),
            }
        }
        due.sort_unstable_by_key(|slot| {
            let session = &self.slots[*slot as usize];
            (session.end, session.start, *slot)
        });
        due
    }

    /// Forgets a session that was [due](Self::due).
    pub(super) fn close(&mut self, slot: u32) {
        let session = self.slots[slot as usize];
        let mut before = None;
        let mut at = self.heads[session.key as usize];
        while let Some(other) = at.checked_sub(1) {
            if other == slot {
                self.unlink(session.key, before, session.next);
                break;
            }
            before = Some(other);
            at = self.slots[other as usize].next;
        }
        self.open -= 1;
        self.free(slot);
    }

    /// Gives the slot of a closed or absorbed session away.
    pub(super) fn free(&mut self, slot: u32) {
        self.slots[slot as usize].fate = Fate::Free;
        self.free.push(slot);
    }

    /// All open sessions, by their slots.
    pub(super) fn all(&self) -> Vec<u32> {
        let slots = (0_u32..).zip(&self.slots).filter(|(_, session)| session.fate == Fate::Open);
        slots.map(|(slot, _)| slot).collect()
    }

    /// Key, start and end of sessions.
    pub(super) fn columns(&self, slots: &[u32]) -> (Vec<u32>, Vec<i64>, Vec<i64>) {
        let sessions = || slots.iter().map(|slot| &self.slots[*slot as usize]);
        (
            sessions().map(|session| session.key).collect(),
            sessions().map(|session| session.start).collect(),
            sessions().map(|session| session.end).collect(),
        )
    }

    /// Which of so many keys have open sessions.
    pub(super) fn used(&self, keys: usize) -> Vec<bool> {
        let mut used: Vec<bool> = self.heads.iter().map(|head| *head != 0).collect();
        used.resize(keys, false);
        used
    }

    /// Gives every key its new number, which is less than `keys`.
    pub(super) fn renumber(&mut self, moved: &[u32], keys: usize) {
        let old = std::mem::replace(&mut self.heads, vec![0; keys]);
        for (key, head) in old.into_iter().enumerate().filter(|(_, head)| *head != 0) {
            self.heads[moved[key] as usize] = head;
        }
        for session in self.slots.iter_mut().filter(|session| session.fate == Fate::Open) {
            session.key = moved[session.key as usize];
        }
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.slots.capacity() * size_of::<OpenSession>()
            + (self.free.capacity() + self.heads.capacity()) * size_of::<u32>()
            + self.ends.capacity() * size_of::<(i64, u32, u32)>()
    }
}
