//! By what a wiped store is recognised.

use std::fmt;

use crate::random::{self, Random};

/// Given to a store at random when it is new, and kept there as long as its contents are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Marker([u8; Self::LEN]);

impl Marker {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A new one.
    pub fn generate(random: &dyn Random) -> Self {
        Self(random::bytes(random))
    }

    /// A marker as a store kept it.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The marker as a store keeps it.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// It is no secret.
impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marker({:032x})", u128::from_be_bytes(self.0))
    }
}
