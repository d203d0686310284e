//! Files as they come: plain, gzip or zstd, told apart by their first bytes.

use std::io::{self, Read};

/// What a file held.
#[derive(Debug)]
pub struct Unpacked {
    /// The bytes, as far as they could be read.
    pub bytes: Vec<u8>,
    /// Why the rest could not be: a file that was cut off still gives what it has.
    pub cut_off: Option<io::Error>,
}

/// Unpacks a whole file.
pub fn unpack(packed: &[u8]) -> Unpacked {
    match packed {
        [0x1f, 0x8b, ..] => read(flate2::read::MultiGzDecoder::new(packed)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => match zstd::stream::read::Decoder::new(packed) {
            Ok(decoder) => read(decoder),
            Err(error) => Unpacked { bytes: Vec::new(), cut_off: Some(error) },
        },
        plain => Unpacked { bytes: plain.to_vec(), cut_off: None },
    }
}

fn read(mut from: impl Read) -> Unpacked {
    let mut bytes = Vec::new();
    let cut_off = from.read_to_end(&mut bytes).err();
    Unpacked { bytes, cut_off }
}
