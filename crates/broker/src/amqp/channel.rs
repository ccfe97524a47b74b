//! Where a channel stands, as far as the wire goes: whether it may be used, and which `close-ok` is
//! still owed by whom. What it has declared, consumes and has unacknowledged, the rules know.

use super::content::Content;

/// A channel of a connection.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// It may be used.
    pub(super) open: bool,
    /// The message that is coming.
    pub(super) content: Option<Content>,
    /// The client has closed it, and is answered when the rules have.
    pub(super) leaving: bool,
    /// We have closed it, and the client has not answered yet: what else it sends is passed over.
    pub(super) refused: bool,
    /// How often we have closed it without being asked to by the rules, and they have not answered
    /// yet: until then what they tell is of before.
    pub(super) outdated: u32,
    /// Messages that were asked for by `basic.get` and have not come.
    pub(super) gets: usize,
    /// Every publish up to this one has been confirmed, or refused.
    pub(super) confirmed: u64,
    /// The last confirm, while others may be joined to it.
    pub(super) confirm: Option<Confirm>,
}

/// A confirm that is not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confirm {
    pub(super) tag: u64,
    pub(super) multiple: bool,
}

impl Channel {
    /// Notes that a publish (and with `multiple` all before it) is refused.
    pub(super) const fn refused_publish(&mut self, tag: u64, multiple: bool) {
        if multiple || tag == self.confirmed + 1 {
            self.confirmed = tag;
        }
    }

    /// Whether its number may be opened anew.
    pub(super) const fn is_free(&self) -> bool {
        !self.leaving && !self.refused
    }

    /// Whether nothing need be remembered of it.
    pub(super) const fn is_over(&self) -> bool {
        self.is_free() && self.outdated == 0
    }

    /// Notes that a publish (and with `multiple` all before it) is confirmed. Returns the confirm
    /// that must be written first, when this one cannot be joined to it: one with `multiple` may
    /// only speak for what is confirmed up to it without a gap.
    pub(super) fn confirm(&mut self, tag: u64, multiple: bool) -> Option<Confirm> {
        let follows = multiple || tag == self.confirmed + 1;
        let before = self.confirm.take();
        if !follows {
            self.confirm = Some(Confirm { tag, multiple });
            return before;
        }
        let joined = before.is_some_and(|before| before.tag <= self.confirmed);
        self.confirmed = tag;
        self.confirm = Some(Confirm { tag, multiple: multiple || joined });
        before.filter(|_| !joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written for these confirms, which are told at once.
    fn check(told: &[(u64, bool)], written: &[(u64, bool)]) {
        let mut channel = Channel::default();
        let mut all: Vec<_> =
            told.iter().filter_map(|(tag, multiple)| channel.confirm(*tag, *multiple)).collect();
        all.extend(channel.confirm.take());
        let all: Vec<_> = all.iter().map(|confirm| (confirm.tag, confirm.multiple)).collect();
        assert_eq!(all, written);
    }

    #[test]
    fn confirms_without_a_gap_become_one() {
        check(&[(1, false)], &[(1, false)]);
        check(&[(1, false), (2, false), (3, false)], &[(3, true)]);
        check(&[(3, true), (4, false)], &[(4, true)]);
        check(&[(2, false), (3, true)], &[(2, false), (3, true)]);
        check(&[(1, false), (3, false), (2, false)], &[(1, false), (3, false), (2, false)]);
    }
}
