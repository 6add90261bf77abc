//! In which order the two variants of each pair run.

/// Who runs first in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The reference.
    A,
    /// What is compared with it.
    B,
}

/// Who runs first in each of `pairs` pairs: two pairs at a time ABBA or BAAB, by the toss of `below(2)`, so that a steady drift of the
/// machine cancels and no rhythm of it can favour one side (Box, Hunter & Hunter, Statistics for Experimenters: randomised
/// blocks). More pairs from the same stream begin with the same ones.
pub fn orders(pairs: usize, mut below: impl FnMut(usize) -> usize) -> Vec<First> {
    let blocks = (0..pairs.div_ceil(2)).flat_map(|_| match below(2) {
        0 => [First::A, First::B],
        _ => [First::B, First::A],
    });
    blocks.take(pairs).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Chance;
    use super::*;

    #[test]
    fn two_pairs_at_a_time_are_balanced() {
        let draw = |seed, pairs| {
            let mut chance = Chance(seed);
            orders(pairs, |n| chance.below(n))
        };
        for seed in 0..50 {
            let all = draw(seed, 15);
            assert_eq!(all.len(), 15);
            assert!(all.chunks_exact(2).all(|block| block[0] != block[1]));
            assert_eq!(all[..7], draw(seed, 7));
        }
        let firsts = (0..200).filter(|seed| draw(*seed, 1) == [First::A]).count();
        assert!((60..140).contains(&firsts), "{firsts}");
        assert!(draw(1, 0).is_empty());
    }
}
