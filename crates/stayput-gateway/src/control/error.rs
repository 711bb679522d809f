//! Why a gateway can't be changed as it was asked to. What is unknown comes with what is known.

use std::fmt;

use crate::config::{ConfigMistake, PoolConfig};

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such pool.
    UnknownPool {
        /// What it was called.
        pool: String,
        /// The pools that there are.
        known: Vec<String>,
    },
    /// There is no such upstream.
    UnknownUpstream(UnknownUpstream),
    /// The configuration would have these mistakes.
    Mistakes(Vec<ConfigMistake>),
}

/// A pool has no upstream of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUpstream {
    /// The name of the pool.
    pub pool: String,
    /// The name of the upstream.
    pub upstream: String,
    /// The pool's upstreams.
    pub known: Vec<String>,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPool { pool, .. } => write!(f, "there is no pool {pool:?}"),
            Self::UnknownUpstream(unknown) => unknown.fmt(f),
            Self::Mistakes(mistakes) => {
                let all: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))
            }
        }
    }
}

impl std::error::Error for ChangeError {}

impl fmt::Display for UnknownUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pool {:?} has no upstream {:?}", self.pool, self.upstream)
    }
}

impl std::error::Error for UnknownUpstream {}

pub(super) fn unknown_pool(pools: &[PoolConfig], pool: &str) -> ChangeError {
    let known = pools.iter().map(|its| its.name.clone()).collect();
    ChangeError::UnknownPool { pool: pool.to_owned(), known }
}

pub(super) fn unknown_upstream(pool: &PoolConfig, upstream: &str) -> ChangeError {
    let known = pool.upstreams.iter().map(|its| its.name.clone()).collect();
    let unknown = UnknownUpstream { pool: pool.name.clone(), upstream: upstream.to_owned(), known };
    ChangeError::UnknownUpstream(unknown)
}

/// Whichever of the two is unknown.
pub(super) fn unknown(pools: &[PoolConfig], pool: &str, upstream: &str) -> ChangeError {
    let found = pools.iter().find(|its| its.name == pool);
    found.map_or_else(|| unknown_pool(pools, pool), |found| unknown_upstream(found, upstream))
}
