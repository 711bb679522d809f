//! Which store a URL names.
//!
//! A URL is parsed before anything is opened, so that a mistake costs nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use stayput_core::{SessionStore, StoreError};

/// A store by its URL: `sqlite:PATH`, `redis://HOST` or `memory:`. `Display` and `Debug` leave passwords out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `memory:`: in this process, and gone with it.
    Memory,
    /// `sqlite:sessions.db`, `sqlite:/var/lib/app/sessions.db`: a file, made if it doesn't exist.
    Sqlite(PathBuf),
    /// `redis://HOST`, `rediss://HOST`, `redis+unix:///PATH`, `redis+sentinel://HOST,HOST/SERVICE`, `redis+cluster://HOST,HOST`: see
    /// [`RedisConfig`](crate::RedisConfig).
    #[cfg(feature = "redis")]
    Redis(RedisUrl),
}

impl StoreUrl {
    /// Opens the store.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being opened, with its cause.
    pub async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory => Ok(Arc::new(crate::MemoryStore::default())),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Ok(Arc::new(crate::SqliteStore::open(path.clone()).await?)),
            #[cfg(feature = "redis")]
            Self::Redis(url) => Ok(Arc::new(crate::RedisStore::connect_with((*url.config).clone()).await?)),
            #[cfg(not(all(feature = "memory", feature = "sqlite")))]
            _ => {
                use stayput_core::{Operation, StoreErrorKind};
                let refused = StoreError::new(StoreErrorKind::Refused, "requested", Operation::Connect);
                Err(refused.with_source("this build of stayput-stores lacks the store's feature"))
            }
        }
    }

    /// The URL with its password, to hand on to another process: by its environment, never by its command line, which
    /// everybody on the machine may read.
    pub fn danger_with_password(&self) -> String {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(url) => url.text.clone(),
            other => other.to_string(),
        }
    }

    /// Whether several processes see the same sessions through this store.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = url.split_once(':').ok_or(StoreUrlError::NoScheme)?;
        match (scheme, rest) {
            ("memory", "") => Ok(Self::Memory),
            ("memory", _) => Err(StoreUrlError::MemoryWithPath),
            ("sqlite", rest) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() { Err(StoreUrlError::NoPath) } else { Ok(Self::Sqlite(path.into())) }
            }
            #[cfg(feature = "redis")]
            (
                "redis" | "rediss" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster"
                | "rediss+cluster",
                _,
            ) => {
                let config = Box::new(url.parse().map_err(StoreUrlError::Redis)?);
                Ok(Self::Redis(RedisUrl { text: url.to_owned(), config }))
            }
            (scheme, _) => Err(StoreUrlError::UnknownScheme(scheme.to_owned())),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            #[cfg(feature = "redis")]
            Self::Redis(url) => url.config.fmt(f),
        }
    }
}

/// The URL of a Redis server, as it was written.
#[cfg(feature = "redis")]
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: String,
    config: Box<crate::RedisConfig>,
}

#[cfg(feature = "redis")]
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.config)
    }
}

/// Why a text is no store URL. Never quotes more than the scheme: a URL may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// There is no `scheme:` in front.
    NoScheme,
    /// The scheme names no store.
    UnknownScheme(String),
    /// `sqlite:` without a file.
    NoPath,
    /// `memory:` with something behind it.
    MemoryWithPath,
    /// It is no URL of a Redis server.
    #[cfg(feature = "redis")]
    Redis(crate::RedisUrlError),
}

impl fmt::Display for StoreUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("not a store URL; use sqlite:PATH, redis://HOST or memory:"),
            Self::UnknownScheme(scheme) => {
                write!(f, "no store is called `{scheme}`; use sqlite:PATH, redis://HOST or memory:")
            }
            Self::NoPath => f.write_str("sqlite: needs a file, as in sqlite:sessions.db"),
            Self::MemoryWithPath => f.write_str("memory: takes nothing behind the colon"),
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_their_store() {
        for (url, path) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite:/tmp/a.db", "/tmp/a.db"),
            ("sqlite:///tmp/a.db", "/tmp/a.db"),
            ("sqlite://a.db", "a.db"),
        ] {
            assert_eq!(url.parse(), Ok(StoreUrl::Sqlite(path.into())), "{url}");
        }
        assert_eq!("memory:".parse(), Ok(StoreUrl::Memory));
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_password_is_handed_on_only_where_that_is_said_to_be_dangerous() {
        for text in [
            "rediss://app:hunter2@host:7000/1?prefix=a:",
            "redis+unix:///s?password=hunter2",
            "redis+sentinel://:hunter2@a:7000,b:7001/sessions?sentinel_password=hunter2",
            "redis+cluster://app:hunter2@host:7000,host:7001",
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert!(!format!("{url} {url:?}").contains("hunter2"), "{url}");
            assert_eq!(url.danger_with_password(), text);
            assert!(url.is_shared());
        }
    }

    #[test]
    fn mistakes_say_the_way_out_and_no_password() {
        let error = |url: &str| url.parse::<StoreUrl>().unwrap_err();
        #[cfg(feature = "redis")]
        assert!(!error("redis://app:hunter2@host:port").to_string().contains("hunter2"));
        assert_eq!(error("sessions.db"), StoreUrlError::NoScheme);
        assert_eq!(error("sqlite:"), StoreUrlError::NoPath);
        assert!(!error("mongodb://user:hunter2@host").to_string().contains("hunter2"));
    }
}
