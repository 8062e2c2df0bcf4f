//! How much may lie on a machine: a mark that is not passed, and a lower one that making room goes down to.

use crate::size::ByteSize;

/// A budget with its two marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// More than this is over budget.
    pub high: u64,
    /// Making room goes on down to here, so that the next few bytes find room as well.
    pub low: u64,
}

/// Bytes that must go, and that had better go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Without these it does not fit.
    pub must: u64,
    /// With these it is at the low mark; never less than `must`.
    pub goal: u64,
}

impl Need {
    /// Exactly these bytes.
    pub fn exactly(bytes: u64) -> Self {
        Self { must: bytes, goal: bytes }
    }

    /// What answers both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { must: self.must.max(other.must), goal: self.goal.max(other.goal) }
    }
}

impl Budget {
    /// Up to `high`; the low mark is at so many hundredths of it.
    pub fn new(high: ByteSize, low_percent: u8) -> Self {
        let low = u128::from(high.0) * u128::from(low_percent.min(100)) / 100;
        Self { high: high.0, low: u64::try_from(low).unwrap_or(high.0) }
    }

    /// What must go before `more` bytes come to the `used` ones. Nothing, while all of it fits below the high mark; and
    /// where it is passed already, no more than what comes: to bring it back below is asked for by name ([`excess`]).
    ///
    /// [`excess`]: Self::excess
    pub fn need(self, used: u64, more: u64) -> Need {
        let after = used.saturating_add(more);
        if after <= self.high {
            return Need::default();
        }
        // What is larger than the budget never fits, whatever goes.
        if more > self.high {
            return self.excess(after);
        }
        let slack = self.high - self.low;
        Need { must: (after - self.high).min(more), goal: (after - self.low).min(more.saturating_add(slack)) }
    }

    /// What must go so that it is kept again.
    pub fn excess(self, used: u64) -> Need {
        if used <= self.high {
            return Need::default();
        }
        Need { must: used - self.high, goal: used - self.low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_below_the_high_mark_and_then_it_goes_down_to_the_low_one() {
        let budget = Budget::new(ByteSize(1000), 80);
        assert_eq!(budget.need(900, 100), Need::default());
        assert_eq!(budget.need(900, 101), Need { must: 1, goal: 201 });
        assert_eq!(budget.need(0, 950), Need::default());
        assert_eq!(budget.need(100, 950), Need { must: 50, goal: 250 });
        assert_eq!(Budget::new(ByteSize(1000), 200).low, 1000);
    }

    #[test]
    fn what_is_over_already_is_not_brought_back_for_a_few_bytes() {
        let budget = Budget::new(ByteSize(1000), 80);
        assert_eq!(budget.need(50_000, 10), Need { must: 10, goal: 210 });
        assert_eq!(budget.excess(50_000), Need { must: 49_000, goal: 49_200 });
        assert_eq!(budget.excess(1000), Need::default());
        assert!(budget.need(300, 1001).must > 300, "not even an empty cache has room for it");
    }
}
