//! Rows as bytes: JSON, compressed where that pays, with a checksum that also binds a row to its place.

use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::store::Error;

/// Below this many bytes, compressing costs more than it saves.
const WORTH_COMPRESSING: usize = 256;
/// zstd's fastest regular level: rows are small and written on the way.
const LEVEL: i32 = 1;
/// Largest row that will be unpacked [bytes]: a damaged length must not exhaust the memory.
const UNPACKED_MAX: usize = 1 << 30;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Tag and checksum.
const HEADER: usize = 9;

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// `value` as a row at `place`: `[tag][8 bytes of SHA-256 over place and payload][payload]`.
pub(super) fn encode<T: Serialize + ?Sized>(place: &str, value: &T) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(value).map_err(|error| corrupt(place, &error.to_string()))?;
    let packed = if json.len() < WORTH_COMPRESSING { None } else { compress(&json) };
    let (tag, payload) = match packed {
        Some(packed) if packed.len() < json.len() => (ZSTD, packed),
        _ => (PLAIN, json),
    };
    let mut row = Vec::with_capacity(HEADER + payload.len());
    row.push(tag);
    row.extend_from_slice(&checksum(place, tag, &payload));
    row.extend_from_slice(&payload);
    Ok(row)
}

/// The value of a row at `place`. Errors: [`Error::Corrupt`] when it is not what was written there.
pub(super) fn decode<T: DeserializeOwned>(place: &str, row: &[u8]) -> Result<T, Error> {
    let (header, payload) =
        row.split_at_checked(HEADER).ok_or_else(|| corrupt(place, "it is cut short"))?;
    let (tag, sum) = (header[0], &header[1..]);
    if checksum(place, tag, payload) != sum {
        return Err(corrupt(place, "its checksum does not match"));
    }
    let parsed = match tag {
        PLAIN => serde_json::from_slice(payload),
        ZSTD => serde_json::from_slice(&decompress(place, payload)?),
        _ => return Err(corrupt(place, "its format is unknown")),
    };
    parsed.map_err(|error| corrupt(place, &error.to_string()))
}

fn compress(json: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|held| {
        if held.is_none() {
            *held = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        held.as_mut()?.compress(json).ok()
    })
}

fn decompress(place: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let size = zstd::bulk::Decompressor::upper_bound(payload)
        .filter(|size| *size <= UNPACKED_MAX)
        .ok_or_else(|| corrupt(place, "its size is not credible"))?;
    zstd::bulk::decompress(payload, size).map_err(|error| corrupt(place, &error.to_string()))
}

fn checksum(place: &str, tag: u8, payload: &[u8]) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update((place.len() as u64).to_le_bytes());
    hash.update(place.as_bytes());
    hash.update([tag]);
    hash.update(payload);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hash.finalize()[..8]);
    sum
}

/// The row at `place` is not what was written there.
pub(super) fn corrupt(place: &str, reason: &str) -> Error {
    Error::Corrupt { what: place.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_small_or_large() {
        for text in ["short".to_owned(), "long ".repeat(2_000)] {
            let row = encode("here", &text).expect("encodes");
            assert_eq!(decode::<String>("here", &row), Ok(text));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let row = encode("here", &"long ".repeat(200)).expect("encodes");
        for byte in 0..row.len() {
            let mut damaged = row.clone();
            damaged[byte] ^= 0x10;
            assert!(decode::<String>("here", &damaged).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn a_row_that_was_moved_is_noticed() {
        let row = encode("here", &"text").expect("encodes");
        assert!(decode::<String>("there", &row).is_err());
    }
}
