//! `SipHash`, the keyed hash of all tables and cookies (Aumasson and Bernstein, 2012).
//!
//! Whoever floods chooses the source addresses. With a hash that anyone can
//! compute, thousands of addresses could be picked that share one group of the
//! table, and push a chosen victim's bucket around. With a secret key they
//! cannot be found. The fast form 1-3 is used, as the standard library does.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// The secret: 128 bits.
///
/// Deliberately without `Debug`: a key in a log is no longer one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    k0: u64,
    k1: u64,
}

impl Key {
    /// A key from the operating system's randomness, by way of the standard
    /// library's own keys.
    pub fn random() -> Self {
        let word = || RandomState::new().build_hasher().finish();
        Self { k0: word(), k1: word() }
    }

    /// The key of this process: what one shard made is known to the others, and to itself after its
    /// service was built anew.
    pub fn of_process() -> Self {
        static KEY: OnceLock<Key> = OnceLock::new();
        *KEY.get_or_init(Self::random)
    }

    /// A key of its own for each use that is numbered: what one of them shows says nothing of
    /// another.
    pub(super) const fn child(self, number: u64) -> Self {
        Self { k0: self.hash_words([number, 0]), k1: self.hash_words([number, 1]) }
    }

    /// A chosen key: for tests and for runs that must repeat exactly.
    pub const fn fixed(seed: u64) -> Self {
        Self { k0: seed, k1: !seed }
    }

    /// Hash of the sixteen octets of `address`.
    pub const fn hash(self, address: u128) -> u64 {
        self.hash_words(halves(address))
    }

    /// Hash of `words`, each as eight little-endian octets.
    pub const fn hash_words<const N: usize>(self, words: [u64; N]) -> u64 {
        self.rounds::<1, 3, N>(words)
    }

    /// `SipHash-c-d` of `N` words.
    const fn rounds<const C: u32, const D: u32, const N: usize>(self, words: [u64; N]) -> u64 {
        let mut state = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        // The last word has the length in its highest octet and no rest.
        let last = (N as u64 * 8) << 56;
        let mut index = 0;
        while index <= N {
            let word = if index < N { words[index] } else { last };
            state[3] ^= word;
            state = mix::<C>(state);
            state[0] ^= word;
            index += 1;
        }
        state[2] ^= 0xff;
        state = mix::<D>(state);
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

/// The low and the high half of `address`.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the address")]
pub(super) const fn halves(address: u128) -> [u64; 2] {
    [address as u64, (address >> 64) as u64]
}

/// `N` rounds of the permutation.
const fn mix<const N: u32>([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    let mut round = 0;
    while round < N {
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        round += 1;
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [u128; 4] = [
        0,
        1,
        0x2001_0db8_0000_0000_0000_0000_0000_0001,
        0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
    ];

    #[test]
    fn the_form_1_3_is_the_one_of_the_standard_library() {
        let zero = Key { k0: 0, k1: 0 };
        for sample in SAMPLES {
            let mut oracle = std::hash::DefaultHasher::new();
            oracle.write(&sample.to_le_bytes());
            assert_eq!(zero.hash(sample), oracle.finish(), "{sample:#x}");
        }
    }

    #[test]
    fn the_key_goes_where_the_standard_library_puts_it() {
        #[expect(deprecated, reason = "the only keyed oracle in the standard library; form 2-4")]
        for sample in SAMPLES {
            let mut oracle = std::hash::SipHasher::new_with_keys(3, 5);
            oracle.write(&sample.to_le_bytes());
            let rounds = Key { k0: 3, k1: 5 }.rounds::<2, 4, 2>(halves(sample));
            assert_eq!(rounds, oracle.finish(), "{sample:#x}");
        }
    }

    #[test]
    fn words_are_hashed_as_the_standard_library_does_it() {
        let zero = Key { k0: 0, k1: 0 };
        let oracle = |words: &[u64]| {
            let mut oracle = std::hash::DefaultHasher::new();
            words.iter().for_each(|word| oracle.write(&word.to_le_bytes()));
            oracle.finish()
        };
        assert_eq!(zero.hash_words([]), oracle(&[]));
        assert_eq!(zero.hash_words([7]), oracle(&[7]));
        assert_eq!(zero.hash_words([1, 2, u64::MAX, 4, 5]), oracle(&[1, 2, u64::MAX, 4, 5]));
    }

    #[test]
    fn two_random_keys_differ() {
        let (one, other) = (Key::random(), Key::random());
        assert!(one != other && one.k0 != one.k1);
    }
}
