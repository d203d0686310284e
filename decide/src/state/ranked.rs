//! Numbers in order, of which the n-th is found without sorting or scanning them: what percentiles are read from.

/// A chunk is split in two once it is longer than this.
const CHUNK: usize = 512;

/// A sorted multiset in chunks. Which numbers stand in which chunk depends on how they came; what is answered
/// depends on the numbers alone.
#[derive(Debug, Clone, Default)]
pub struct Ranked {
    /// Each sorted, none empty, and none above the next.
    chunks: Vec<Vec<i64>>,
    len: usize,
}

impl Ranked {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first chunk whose last number is not below this one.
    fn chunk_of(&self, number: i64) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| *last < number))
    }

    /// One number more.
    pub fn insert(&mut self, number: i64) {
        self.len += 1;
        let at = self.chunk_of(number).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![number]);
            return;
        };
        chunk.insert(chunk.partition_point(|n| *n < number), number);
        if chunk.len() > CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    /// One number less, if it is there.
    pub fn remove(&mut self, number: i64) {
        let at = self.chunk_of(number);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.binary_search(&number) else { return };
        chunk.remove(place);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// The number of that rank, the lowest being of rank 0.
    pub fn nth(&self, mut rank: usize) -> Option<i64> {
        for chunk in &self.chunks {
            match chunk.get(rank) {
                Some(number) => return Some(*number),
                None => rank -= chunk.len(),
            }
        }
        None
    }

    /// The percentile of rank `(n - 1) x percent / 100`: between two numbers the line from one to the other, rounded
    /// down (`behaviour.md` 3). None of nothing.
    pub fn percentile(&self, percent: u32) -> Option<i64> {
        // In hundredths of a rank; a sample is far from where this would end.
        let rank = (self.len.checked_sub(1)? as u128) * u128::from(percent.min(100));
        let (whole, part) = (usize::try_from(rank / 100).ok()?, i128::try_from(rank % 100).ok()?);
        let low = i128::from(self.nth(whole)?);
        let high = self.nth(whole + 1).map_or(low, i128::from);
        i64::try_from(low + ((high - low) * part).div_euclid(100)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: impl IntoIterator<Item = i64>) -> Ranked {
        let mut ranked = Ranked::default();
        numbers.into_iter().for_each(|n| ranked.insert(n));
        ranked
    }

    #[test]
    fn a_percentile_lies_on_the_line_between_two_ranks_rounded_down() {
        assert_eq!(Ranked::default().percentile(75), None);
        assert_eq!(of([7]).percentile(99), Some(7));
        // Four numbers: rank 3 x 0.75 = 2.25, so a quarter of the way from 30 to 41: 32.75.
        assert_eq!(of([41, 10, 30, 20]).percentile(75), Some(32));
        assert_eq!(of([41, 10, 30, 20]).percentile(100), Some(41));
        assert_eq!(of([41, 10, 30, 20]).percentile(0), Some(10));
        // Rank 1 x 0.5 between -3 and 0: -1.5, down.
        assert_eq!(of([0, -3]).percentile(50), Some(-2));
        assert_eq!(of([i64::MIN, i64::MAX]).percentile(100), Some(i64::MAX));
    }

    #[test]
    fn many_numbers_stand_in_many_chunks_and_leave_them_again() {
        let mut ranked = of((0..10_000).map(|n| n * 7_919 % 10_000));
        assert!(ranked.chunks.len() > 10 && ranked.chunks.iter().all(|c| c.len() <= CHUNK));
        assert_eq!(ranked.nth(4_321), Some(4_321));
        assert_eq!((ranked.nth(10_000), ranked.len()), (None, 10_000));
        (0..10_000).for_each(|n| ranked.remove(n));
        assert!(ranked.is_empty() && ranked.chunks.is_empty());
    }

    proptest! {
        #[test]
        fn it_answers_what_a_sorted_list_would(
            steps in proptest::collection::vec((any::<bool>(), 0i64..300), 0..2_000),
            percent in 0u32..=100,
        ) {
            let (mut ranked, mut list) = (Ranked::default(), Vec::new());
            for (comes, number) in steps {
                if comes {
                    ranked.insert(number);
                    list.push(number);
                } else {
                    ranked.remove(number);
                    if let Some(at) = list.iter().position(|n| *n == number) {
                        list.swap_remove(at);
                    }
                }
            }
            list.sort_unstable();
            prop_assert_eq!(ranked.len(), list.len());
            prop_assert!((0..=list.len()).all(|rank| ranked.nth(rank) == list.get(rank).copied()));
            let whole = |rank: usize| list.get(rank).copied().unwrap_or_default();
            let wanted = list.len().checked_sub(1).map(|last| {
                let rank = last * percent as usize;
                let (low, high) = (whole(rank / 100), whole((rank / 100 + 1).min(last)));
                low + (high - low) * i64::try_from(rank % 100).unwrap() / 100
            });
            prop_assert_eq!(ranked.percentile(percent), wanted);
        }
    }
}
