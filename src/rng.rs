//! One seed, named streams of chance.
//!
//! Every random choice of a run draws from a stream that is named after its use. A stream depends
//! on the seed and its own name alone, so that adding a fault moves no arrival.

use rand::Rng;
use rand_pcg::Pcg64Mcg;
use sha2::{Digest, Sha256};

use crate::units::Seed;

/// The generator that streams are made of: small, fast, the same on every machine.
pub type Stream = Pcg64Mcg;

/// The stream of this name under this seed.
pub fn stream(seed: Seed, name: &str) -> Stream {
    // A cryptographic digest, because seeds that differ in one bit (42, 43) must give unrelated streams.
    let digest = Sha256::new().chain_update(seed.0.to_le_bytes()).chain_update(name.as_bytes()).finalize();
    let mut state = [0u8; 16];
    state.copy_from_slice(&digest[..16]);
    Pcg64Mcg::new(u128::from_le_bytes(state))
}

/// A number in `0..n`, each equally likely. `n` must be above zero.
pub fn below(rng: &mut Stream, n: usize) -> usize {
    assert!(n > 0, "no choice among nothing");
    // Widening multiply: the bias is below n / 2^64, far under anything that a run could show.
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// A number in `[0, 1)`, with 53 random bits.
pub fn unit(rng: &mut Stream) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_their_own() {
        let draw = |seed, name| stream(Seed(seed), name).next_u64();
        assert_eq!(draw(42, "arrivals"), draw(42, "arrivals"));
        assert_ne!(draw(42, "arrivals"), draw(42, "fault:kill-one"));
        assert_ne!(draw(42, "arrivals"), draw(43, "arrivals"));
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = stream(Seed(1), "test");
        let mut seen = [0u32; 5];
        (0..50_000).for_each(|_| seen[below(&mut rng, 5)] += 1);
        assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
    }
}
