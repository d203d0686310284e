//! The little of EIP-712 that the venue needs: words of 32 bytes, domains, digests.

use schemas::ids::{Address, AssetId, Hash32, keccak256};

/// One ABI word.
pub type Word = [u8; 32];

/// Text by its hash.
pub fn text(value: &str) -> Word {
    *keccak256(&[value.as_bytes()]).as_bytes()
}

/// An address in the last 20 bytes.
pub fn address(value: Address) -> Word {
    let mut word = [0; 32];
    word[12..].copy_from_slice(value.as_bytes());
    word
}

/// An unsigned number, big-endian.
pub fn uint(value: u64) -> Word {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&value.to_be_bytes());
    word
}

/// A decimal id as a 256-bit number; `None` where it needs more bits.
pub fn decimal(value: &AssetId) -> Option<Word> {
    // Four limbs, the least first.
    let mut limbs = [0u64; 4];
    for digit in value.as_str().bytes().map(|b| u64::from(b.wrapping_sub(b'0'))) {
        let mut carry = u128::from(digit);
        for limb in &mut limbs {
            let sum = u128::from(*limb) * 10 + carry;
            // The low half stays, the high half is carried.
            *limb = u64::try_from(sum & u128::from(u64::MAX)).ok()?;
            carry = sum >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    let mut word = [0; 32];
    for (chunk, limb) in word.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    Some(word)
}

/// The hash of a struct: its type's hash and its words.
pub fn struct_hash(type_string: &str, words: &[Word]) -> Hash32 {
    let kind = text(type_string);
    let mut parts: Vec<&[u8]> = vec![&kind];
    parts.extend(words.iter().map(Word::as_slice));
    keccak256(&parts)
}

/// A domain, with the verifying contract where the protocol names one.
pub fn domain_separator(name: &str, version: &str, chain_id: u64, contract: Option<Address>) -> Hash32 {
    let mut words = vec![text(name), text(version), uint(chain_id)];
    let type_string = match contract {
        Some(contract) => {
            words.push(address(contract));
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        }
        None => "EIP712Domain(string name,string version,uint256 chainId)",
    };
    struct_hash(type_string, &words)
}

/// What is signed.
pub fn digest(domain: Hash32, struct_hash: Hash32) -> Hash32 {
    keccak256(&[&[0x19, 0x01], domain.as_bytes(), struct_hash.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_ids_become_256_bit_numbers() {
        let word = |s: &str| decimal(&s.parse().unwrap());
        assert_eq!(word("0"), Some([0; 32]));
        assert_eq!(word("258"), Some(uint(258)));
        let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(word(max), Some([0xff; 32]));
        let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(word(above), None);
    }
}
