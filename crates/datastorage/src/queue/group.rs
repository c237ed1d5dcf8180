//! How much of the queue is written in one transaction.

/// Bounds of the entries of one transaction; a single entry may be larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupLimit {
    /// Entries.
    pub(super) entries: usize,
    /// Bytes of them in the queue's file. A group is in memory a few times over: as entries, as rows, and on their way.
    pub(super) bytes: usize,
}

impl GroupLimit {
    /// Where it starts, and comes back to.
    pub(super) const FULL: Self = Self {
        entries: 500,
        bytes: 4 << 20,
    };

    /// After a group of `written` entries took too long.
    pub(super) fn halve(&mut self, written: usize) {
        self.entries = (written / 2).max(1);
        self.bytes = (self.bytes / 2).max(1);
    }

    /// After a group was stored in time.
    pub(super) fn grow(&mut self) {
        self.entries = (self.entries * 2).min(Self::FULL.entries);
        self.bytes = (self.bytes * 2).min(Self::FULL.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::GroupLimit;

    #[test]
    fn a_group_is_halved_down_to_one_entry_and_grows_back_to_the_full_size() {
        let mut limit = GroupLimit::FULL;
        limit.halve(300);
        assert_eq!((limit.entries, limit.bytes), (150, 2 << 20));
        for _ in 0..40 {
            limit.halve(limit.entries);
        }
        assert_eq!((limit.entries, limit.bytes), (1, 1));
        for _ in 0..40 {
            limit.grow();
        }
        assert_eq!(limit, GroupLimit::FULL);
    }
}
