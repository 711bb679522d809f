//! Which encoding records are written in, and what the newest one adds: data that is compressed.
//!
//! Reading never depends on the choice: every format up to the newest is read. The formats have the same header, so that a store's
//! scripts find everything in its place.

use std::borrow::Cow;

use super::RecordError;
use crate::seal::OpenError;

/// An encoding of records. A fleet writes one that all of its servers read; which of them that is, is for its operator to say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum RecordFormat {
    /// Data as it is. Read by every Stayput.
    #[default]
    V1,
    /// Data compressed (LZ4 block format), where that makes it an eighth shorter. Whoever can see how long a record is, in the store or on the way to it,
    /// and can have text of their own put into somebody's session, may learn by it what else is in there (CRIME, CVE-2012-4929).
    V2,
}

impl RecordFormat {
    /// The newest that this Stayput reads.
    pub const NEWEST: Self = Self::V2;

    /// The format with this number.
    ///
    /// # Errors
    ///
    /// It is newer than this Stayput, or none.
    pub fn from_number(number: u8) -> Result<Self, RecordError> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            number => Err(RecordError::UnknownFormat(number)),
        }
    }

    /// Its number, the first byte of a record.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The data as it is sealed, and whether it is compressed.
    pub(super) fn pack(self, data: &[u8]) -> (Cow<'_, [u8]>, bool) {
        if self == Self::V1 || data.len() < WORTHWHILE {
            return (data.into(), false);
        }
        let compressed = lz4_flex::block::compress_prepend_size(data);
        if compressed.len() > data.len() - data.len() / 8 {
            return (data.into(), false);
        }
        (compressed.into(), true)
    }
}

/// What [`RecordFormat::pack`] compressed. It was sealed: one that can't be read is none of ours.
pub(super) fn unpack(compressed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (length, block) = lz4_flex::block::uncompressed_size(compressed).map_err(|_| OpenError::Broken)?;
    // No block says more with each byte; so nothing makes this take more memory than it should.
    if length > block.len().saturating_mul(255) {
        return Err(OpenError::Broken);
    }
    let data = lz4_flex::block::decompress(block, length).map_err(|_| OpenError::Broken)?;
    if data.len() == length { Ok(data) } else { Err(OpenError::Broken) }
}

/// Less than this is not worth the time.
const WORTHWHILE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_no_block_can_have_takes_no_memory() {
        let (mut packed, is_compressed) = RecordFormat::V2.pack(&[7; 1000]);
        assert!(is_compressed);
        assert_eq!(unpack(&packed).unwrap(), [7; 1000]);
        for length in [999u32, 1001, u32::MAX] {
            packed.to_mut()[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(unpack(&packed), Err(OpenError::Broken), "{length}");
        }
        assert_eq!(unpack(b"abc"), Err(OpenError::Broken));
    }

    #[test]
    fn every_format_has_its_number() {
        for format in [RecordFormat::V1, RecordFormat::NEWEST] {
            assert_eq!(RecordFormat::from_number(format.number()), Ok(format));
        }
        assert_eq!(RecordFormat::from_number(0), Err(RecordError::UnknownFormat(0)));
    }
}
