//! Snappy's block format, as remote write bodies come in, with a bound on what they unpack to.

use super::DecodeError;

/// The size a body claims to have unpacked.
///
/// # Errors
/// [`DecodeError::TooLarge`] where it claims more than `max_bytes`; [`DecodeError::Snappy`] where
/// it has no such claim.
pub fn claimed_len(body: &[u8], max_bytes: usize) -> Result<usize, DecodeError> {
    let bytes = snap::raw::decompress_len(body).map_err(DecodeError::Snappy)?;
    let limit = max_bytes;
    if bytes > limit {
        return Err(DecodeError::TooLarge { bytes, limit });
    }
    Ok(bytes)
}

/// Unpacks a body into the front of `memory`, which only ever grows, and returns that front.
///
/// The size the body claims is checked before anything is allocated for it.
///
/// # Errors
/// [`DecodeError::TooLarge`] where the body claims more than `max_bytes`;
/// [`DecodeError::Snappy`] where it is not what it claims.
pub fn decompress<'m>(
    body: &[u8],
    max_bytes: usize,
    memory: &'m mut Vec<u8>,
) -> Result<&'m [u8], DecodeError> {
    let claimed = claimed_len(body, max_bytes)?;
    // Growing zeroes the new bytes; what was used before need not be zeroed again.
    if memory.len() < claimed {
        memory.resize(claimed, 0);
    }
    let unpacked = &mut memory[..claimed];
    let mut decoder = snap::raw::Decoder::new();
    let len = decoder
        .decompress(body, unpacked)
        .map_err(DecodeError::Snappy)?;
    Ok(&memory[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    #[test]
    fn unpacks_into_memory_that_was_used_before() {
        let mut memory = Vec::new();
        for text in ["a long one, to begin with", "short", ""] {
            let unpacked = decompress(&pack(text.as_bytes()), 100, &mut memory).unwrap();
            assert_eq!(unpacked, text.as_bytes());
        }
    }

    #[test]
    fn refuses_a_bomb_before_it_allocates() {
        let claims_a_gibibyte = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00, b'x'];
        let mut memory = Vec::new();
        let error = decompress(&claims_a_gibibyte, 64 << 20, &mut memory).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { bytes, .. } if bytes == 1 << 30));
        assert_eq!(memory.capacity(), 0);
    }

    #[test]
    fn refuses_every_truncation() {
        let whole = pack(&b"abcdefgh".repeat(40));
        for cut in 0..whole.len() {
            let mut memory = Vec::new();
            let error = decompress(&whole[..cut], 1 << 20, &mut memory);
            assert!(matches!(error, Err(DecodeError::Snappy(_))), "{cut}");
        }
    }
}
