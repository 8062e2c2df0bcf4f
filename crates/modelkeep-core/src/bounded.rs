//! What a cache of a bounded size lets go: those that were not used for the longest time.

/// Something that is kept and can be had again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<K> {
    /// What it is called.
    pub key: K,
    /// Bytes.
    pub size: u64,
    /// When it was last used, in any unit that grows.
    pub used: u64,
}

/// Which of the kept have to go so that `more` bytes fit into `limit` with the rest: the least recently used first, and
/// no more than it takes. What is more than the limit itself drives out everything.
pub fn let_go<K: Ord>(mut kept: Vec<Kept<K>>, limit: u64, more: u64) -> Vec<Kept<K>> {
    let mut total = kept.iter().map(|one| one.size).fold(more, u64::saturating_add);
    // Of two that were used at the same time the larger one makes room sooner; the name decides the rest.
    kept.sort_by(|a, b| a.used.cmp(&b.used).then(b.size.cmp(&a.size)).then_with(|| a.key.cmp(&b.key)));
    let mut going = Vec::new();
    for one in kept {
        if total <= limit {
            break;
        }
        total -= one.size;
        going.push(one);
    }
    going
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(of: &[(u64, u64)]) -> Vec<Kept<usize>> {
        of.iter().enumerate().map(|(key, (size, used))| Kept { key, size: *size, used: *used }).collect()
    }

    fn going(of: &[(u64, u64)], limit: u64, more: u64) -> Vec<usize> {
        let_go(kept(of), limit, more).into_iter().map(|one| one.key).collect()
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let three = [(10, 3), (10, 1), (10, 2)];
        assert_eq!(going(&three, 40, 10), [0; 0]);
        assert_eq!(going(&three, 39, 10), [1]);
        assert_eq!(going(&three, 25, 10), [1, 2]);
        assert_eq!(going(&three, 5, 10), [1, 2, 0]);
        assert_eq!(going(&[], 5, 10), [0; 0]);
    }

    proptest! {
        #[test]
        fn what_stays_fits_and_was_used_later(of in proptest::collection::vec((0_u64..100, 0_u64..10), 0..20), limit in 0_u64..500, more in 0_u64..200) {
            let gone = let_go(kept(&of), limit, more);
            let stay: Vec<_> = kept(&of).into_iter().filter(|one| !gone.contains(one)).collect();
            let total: u64 = stay.iter().map(|one| one.size).sum::<u64>() + more;
            prop_assert!(total <= limit || stay.is_empty());
            let oldest = stay.iter().map(|one| one.used).min().unwrap_or(u64::MAX);
            prop_assert!(gone.iter().all(|one| one.used <= oldest));
            if let Some(last) = gone.last() {
                prop_assert!(total + last.size > limit);
            }
        }
    }
}
