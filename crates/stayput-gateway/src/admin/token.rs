//! The token of the admin interface. It never shows itself.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// What whoever asks the admin interface must know. At least 16 characters; 32 random bytes make a good one.
#[derive(Clone)]
pub struct AdminToken(Box<[u8]>);

/// This can't be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadToken;

impl AdminToken {
    /// The token that is this text.
    ///
    /// # Errors
    ///
    /// It is too short to be one, or has a character that can't stand in a header field.
    pub fn new(text: &str) -> Result<Self, BadToken> {
        let fine = (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fine { Ok(Self(text.as_bytes().into())) } else { Err(BadToken) }
    }

    /// Whether it is that one. The time this takes doesn't depend on where the two differ.
    pub(super) fn is(&self, other: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, other).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token has {SHORTEST} to {LONGEST} visible ASCII characters")
    }
}

impl std::error::Error for BadToken {}

const SHORTEST: usize = 16;
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token_and_it_never_shows() {
        let token = AdminToken::new("0123456789abcdef").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "AdminToken(..)");
        for text in ["short", "with a blank in it", "0123456789abcdé"] {
            assert_eq!(AdminToken::new(text).unwrap_err(), BadToken, "{text}");
        }
    }
}
