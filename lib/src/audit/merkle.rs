//! Merkle trees as RFC 6962 has them: leaves and nodes are told apart by their first byte, and a tree of any size has one
//! shape. Pure.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The hash of a leaf.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree; of no leaves, the hash of nothing.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        leaves => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// The hashes that lead from leaf `at` to the root, from below.
#[must_use]
pub fn path(leaves: &[Hash], at: usize) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    if at < middle {
        let mut hashes = path(left, at);
        hashes.push(root(right));
        hashes
    } else {
        let mut hashes = path(right, at - middle);
        hashes.push(root(left));
        hashes
    }
}

/// The root that a leaf at `at` of `count` and its path lead to; `None` when the path has the wrong length.
#[must_use]
pub fn root_of_path(leaf: &Hash, at: usize, count: usize, path: &[Hash]) -> Option<Hash> {
    if at >= count {
        return None;
    }
    if count == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let middle = split(count);
    let (last, rest) = path.split_last()?;
    if at < middle {
        Some(node(&root_of_path(leaf, at, middle, rest)?, last))
    } else {
        Some(node(last, &root_of_path(leaf, at - middle, count - middle, rest)?))
    }
}

/// `sha256:...`
#[must_use]
pub fn to_text(hash: &Hash) -> String {
    let mut out = String::from("sha256:");
    for byte in hash {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The hash that a text is; `None` when it is none.
#[must_use]
pub fn from_text(text: &str) -> Option<Hash> {
    let hex = text.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 6962's reference implementation.
    #[test]
    fn roots_are_those_of_the_reference() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let leaves: Vec<Hash> = inputs.iter().map(|input| leaf(&hex(input))).collect();
        for (count, expected) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(to_text(&root(&leaves[..count])), format!("sha256:{expected}"), "{count}");
        }
    }

    #[test]
    fn every_path_leads_to_the_root_and_no_other_does() {
        for count in 1..40 {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf(&[u8::try_from(i).unwrap()])).collect();
            let root = root(&leaves);
            for at in 0..count {
                let path = path(&leaves, at);
                assert_eq!(root_of_path(&leaves[at], at, count, &path), Some(root));
                for other in (0..count).filter(|other| *other != at) {
                    assert_ne!(
                        root_of_path(&leaves[at], other, count, &path),
                        Some(root),
                        "{at} as {other} of {count}"
                    );
                }
                assert_ne!(root_of_path(&leaf(b"x"), at, count, &path), Some(root));
                let longer = [&path[..], &[root]].concat();
                assert_eq!(root_of_path(&leaves[at], at, count, &longer), None);
            }
        }
        assert_eq!(from_text(&to_text(&leaf(b"a"))), Some(leaf(b"a")));
        assert_eq!(from_text("sha256:zz"), None);
    }
}
