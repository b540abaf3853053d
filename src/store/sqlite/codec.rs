//! Rows as bytes: JSON, compressed where that pays, with a checksum that also binds a row to its place.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use zstd::zstd_safe::CParameter;

use crate::store::Error;

/// Below this many bytes, compressing costs more than it saves.
const WORTH_COMPRESSING: usize = 256;
/// zstd's fastest regular level: rows are small and written on the way.
const LEVEL: i32 = 1;
/// Largest row that will be unpacked [bytes]: a damaged length must not exhaust the memory.
const UNPACKED_MAX: usize = 1 << 30;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Compressed with another value as dictionary; the frame holds a checksum of what comes out.
const DELTA: u8 = 2;
/// A value that begins so would be taken for a trained dictionary.
const TRAINED: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();
/// Search window of a delta, log2 of bytes: it must reach back over the whole value that it continues.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 17..=27;
/// Tag and checksum.
const HEADER: usize = 9;

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// `value` as a row at `place`: `[tag][8 bytes of SHA-256 over place and payload][payload]`.
pub(super) fn encode<T: Serialize + ?Sized>(place: &str, value: &T) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(value).map_err(|error| corrupt(place, &error.to_string()))?;
    Ok(seal(place, json))
}

/// The value of a row at `place`. Errors: [`Error::Corrupt`] when it is not what was written there.
pub(super) fn decode<T: DeserializeOwned>(place: &str, row: &[u8]) -> Result<T, Error> {
    let parsed = serde_json::from_slice(&unseal(place, row)?);
    parsed.map_err(|error| corrupt(place, &error.to_string()))
}

/// `bytes` as a row at `place`.
pub(super) fn seal(place: &str, bytes: Vec<u8>) -> Vec<u8> {
    let packed = if bytes.len() < WORTH_COMPRESSING { None } else { compress(&bytes) };
    match packed {
        Some(packed) if packed.len() < bytes.len() => framed(place, ZSTD, &packed),
        _ => framed(place, PLAIN, &bytes),
    }
}

/// `bytes` as a row at `place` that continues `base`; `None`: that saves nothing.
pub(super) fn seal_delta(place: &str, bytes: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < WORTH_COMPRESSING || base.starts_with(&TRAINED) {
        return None;
    }
    let reach = (bytes.len() + base.len()).next_power_of_two().ilog2();
    let reach = reach.clamp(*WINDOW_LOG.start(), *WINDOW_LOG.end());
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).ok()?;
    compressor.include_checksum(true).ok()?;
    compressor.window_log(reach).ok()?;
    // A table with a place for most positions of the base: the level's own one forgets its beginning.
    compressor.set_parameter(CParameter::HashLog(reach - 1)).ok()?;
    compressor.set_dictionary(LEVEL, base).ok()?;
    let packed = compressor.compress(bytes).ok()?;
    (packed.len() < bytes.len() / 4).then(|| framed(place, DELTA, &packed))
}

/// The bytes of a row at `place` that continues `base`. Errors: [`Error::Corrupt`].
pub(super) fn unseal_delta(place: &str, row: &[u8], base: &[u8]) -> Result<Vec<u8>, Error> {
    let (tag, payload) = unframed(place, row)?;
    if tag != DELTA {
        return Err(corrupt(place, "it continues no other value"));
    }
    let failed = |error: std::io::Error| corrupt(place, &error.to_string());
    let mut decompressor = zstd::bulk::Decompressor::with_dictionary(base).map_err(failed)?;
    decompressor.decompress(payload, size(place, payload)?).map_err(failed)
}

/// The bytes of a row at `place`. Errors: [`Error::Corrupt`].
pub(super) fn unseal<'a>(place: &str, row: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let (tag, payload) = unframed(place, row)?;
    match tag {
        PLAIN => Ok(Cow::Borrowed(payload)),
        ZSTD => decompress(place, payload).map(Cow::Owned),
        _ => Err(corrupt(place, "its format is unknown")),
    }
}

/// A row of `from` as one of `to`, without unpacking it. Errors: [`Error::Corrupt`]: damage does not spread.
pub(super) fn moved(from: &str, to: &str, row: &[u8]) -> Result<Vec<u8>, Error> {
    let (tag, payload) = unframed(from, row)?;
    Ok(framed(to, tag, payload))
}

fn framed(place: &str, tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEADER + payload.len());
    row.push(tag);
    row.extend_from_slice(&checksum(place, tag, payload));
    row.extend_from_slice(payload);
    row
}

fn unframed<'a>(place: &str, row: &'a [u8]) -> Result<(u8, &'a [u8]), Error> {
    let (header, payload) =
        row.split_at_checked(HEADER).ok_or_else(|| corrupt(place, "it is cut short"))?;
    let (tag, sum) = (header[0], &header[1..]);
    if checksum(place, tag, payload) != sum {
        return Err(corrupt(place, "its checksum does not match"));
    }
    Ok((tag, payload))
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
    let size = size(place, payload)?;
    zstd::bulk::decompress(payload, size).map_err(|error| corrupt(place, &error.to_string()))
}

fn size(place: &str, payload: &[u8]) -> Result<usize, Error> {
    zstd::bulk::Decompressor::upper_bound(payload)
        .filter(|size| *size <= UNPACKED_MAX)
        .ok_or_else(|| corrupt(place, "its size is not credible"))
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
    fn a_value_that_continues_another_is_small_and_needs_exactly_that_one() {
        let text = |lines: u32| -> String {
            (0..lines).map(|n| crate::base::stable_hash(&[&n.to_string()])).collect()
        };
        for lines in [50, 1_000, 40_000, 300_000] {
            let (base, next) = (text(lines), text(lines + 1));
            let row = seal_delta("here", next.as_bytes(), base.as_bytes()).expect("it saves a lot");
            assert!(row.len() < 1_024, "{} bytes for one more line of {lines}", row.len());
            let back = unseal_delta("here", &row, base.as_bytes());
            assert_eq!(back, Ok(next.into_bytes()));
            assert!(unseal_delta("here", &row, &base.as_bytes()[1..]).is_err());
        }
        assert_eq!(seal_delta("here", text(9).as_bytes(), b"something else altogether"), None);
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
    fn a_row_that_was_moved_is_noticed_unless_it_was_moved_on_purpose() {
        let row = encode("here", &"text").expect("encodes");
        assert!(decode::<String>("there", &row).is_err());
        let row = moved("here", "there", &row).expect("it is sound");
        assert_eq!(decode::<String>("there", &row), Ok("text".to_owned()));
        assert!(moved("here", "elsewhere", &row).is_err());
    }
}
