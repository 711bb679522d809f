//! In which of a cluster's slots a command's keys are.
//!
//! It looks at the first key alone: no command or script of the store touches two slots.

use redis::{Arg, Cmd};

/// One of the parts that a cluster shares out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) struct Slot(u16);

impl Slot {
    pub(in crate::redis) const COUNT: usize = 16_384;

    /// The slot of a command's keys, if it is no script; `None` if it has none, so that any node can answer it.
    pub(in crate::redis) fn of(command: &Cmd) -> Option<Self> {
        let mut words = command.args_iter().map_while(|word| match word {
            Arg::Simple(word) => Some(word),
            _ => None,
        });
        let key = match words.next()? {
            b"TIME" | b"INFO" => None,
            _ => words.next(),
        };
        key.map(Self::of_key)
    }

    pub(in crate::redis) fn of_key(key: &[u8]) -> Self {
        let checksum = hash_tag(key)
            .unwrap_or(key)
            .iter()
            .fold(0, |crc: u16, byte| (crc << 8) ^ CHECKSUMS[usize::from((crc >> 8) ^ u16::from(*byte))]);
        Self(checksum % COUNT)
    }

    /// The slot of a number that a server named.
    pub(super) fn from_number(number: u16) -> Option<Self> {
        (number < COUNT).then_some(Self(number))
    }

    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// What stands between the first `{` and the next `}`, unless that is nothing.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[open..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[open..open + length])
}

/// Whether keys behind this prefix are told apart by the hash tags that stand in them, or else by those of the prefix: one with
/// an empty tag would have what belongs to one subject all over the cluster.
pub(super) fn keeps_tags(prefix: &str) -> bool {
    match prefix.split_once('{') {
        Some((_, rest)) => !rest.starts_with('}'),
        None => true,
    }
}

const COUNT: u16 = 16_384;

/// CRC-16/XMODEM, byte by byte.
const CHECKSUMS: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use stayput_testkit::servers::slot;

    use super::*;

    #[test]
    fn a_slot_is_the_one_of_the_specification() {
        assert_eq!(Slot::of_key(b"123456789"), Slot(0x31c3));
        let keys: [&[u8]; 8] =
            [b"", b"a", b"{user}a", b"a{}b{c}", b"a{{x}}y", b"}{", b"a{b", &[0xff, b'{', 0, b'}', 1]];
        for key in keys {
            assert_eq!(Slot::of_key(key), Slot(slot(key)), "{key:?}");
        }
    }

    #[test]
    fn a_commands_slot_is_that_of_its_first_key() {
        let mut get = redis::cmd("GET");
        get.arg("a");
        assert_eq!(Slot::of(&get), Some(Slot::of_key(b"a")));
        assert_eq!(Slot::of(&redis::cmd("TIME")), None);
    }

    #[test]
    fn a_prefix_with_an_empty_tag_would_part_a_subjects_keys() {
        for prefix in ["", "stayput:", "{app}:", "a{", "}"] {
            assert!(keeps_tags(prefix), "{prefix}");
            assert_eq!(
                slot(format!("{prefix}{{s}}index").as_bytes()),
                slot(format!("{prefix}{{s}}epoch").as_bytes())
            );
        }
        assert!(!keeps_tags("a{}"));
    }
}
