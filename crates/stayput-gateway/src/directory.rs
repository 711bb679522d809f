//! Which pool a request is for, by its host and path.
//!
//! It compares bytes as they come: a path that is spelled in another way (`/%73hop`, `/x/../shop`) is another path. So it is
//! no place to keep somebody out of an application.

use std::borrow::Cow;

use crate::config::PoolConfig;
use crate::links::{Parameter, Reference};

/// All pools' places, the most exact ones first.
pub(crate) struct Directory {
    entries: Vec<Entry>,
    /// The pool that gets everything, if there is only that one.
    only: Option<usize>,
    /// What stands in paths without belonging to them.
    parameters: Vec<Parameter>,
}

struct Entry {
    host: Host,
    /// Without a slash at its end.
    path: String,
    pool: usize,
}

/// In lower case.
#[derive(PartialEq, Eq)]
enum Host {
    Exact(String),
    /// All below this one, whose name has its dot in front.
    Below(String),
    Any,
}

impl Directory {
    pub(crate) fn new(pools: &[PoolConfig]) -> Self {
        let mut entries: Vec<_> =
            pools.iter().enumerate().flat_map(|(index, pool)| Entry::all(index, pool)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.host.exactness(), entry.path.len())));
        let only = match &entries[..] {
            [only] if only.host == Host::Any && only.path.is_empty() => Some(only.pool),
            _ => None,
        };
        let parameters = pools.iter().filter_map(|pool| pool.affinity.url()).map(Parameter::new);
        Self { entries, only, parameters: parameters.filter(Parameter::is_in_path).collect() }
    }

    /// The pool for a request's authority and target.
    pub(crate) fn find(&self, authority: &[u8], target: &[u8]) -> Option<usize> {
        self.only.or_else(|| {
            let host = bare(authority);
            let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
            let path = &*self.without_parameters(path);
            let fits = |entry: &&Entry| entry.host.fits(host) && is_below(&entry.path, path);
            self.entries.iter().find(fits).map(|entry| entry.pool)
        })
    }
}

impl Directory {
    fn without_parameters<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        let mut bare = Cow::Borrowed(path);
        for parameter in &self.parameters {
            let cuts = parameter.cuts(&Reference::target(&bare));
            for cut in cuts.into_iter().rev() {
                bare.to_mut().drain(cut.range);
            }
        }
        bare
    }
}

impl Entry {
    fn all(index: usize, pool: &PoolConfig) -> Vec<Self> {
        let any = [String::new()];
        let or_any = |list: &[String]| if list.is_empty() { any.to_vec() } else { list.to_vec() };
        let (hosts, paths) = (or_any(&pool.hosts), or_any(&pool.paths));
        let entry = |host: &str, path: &str| Self {
            host: Host::parse(host),
            path: path.trim_end_matches('/').to_owned(),
            pool: index,
        };
        hosts.iter().flat_map(|host| paths.iter().map(move |path| entry(host, path))).collect()
    }
}

impl Host {
    fn parse(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some(below) => Self::Below(below.to_owned()),
            None if host.is_empty() => Self::Any,
            None => Self::Exact(host),
        }
    }

    /// More is more exact.
    fn exactness(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(name) => name.len(),
            Self::Any => 0,
        }
    }

    fn fits(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own.as_bytes().eq_ignore_ascii_case(host),
            Self::Below(own) => host
                .split_at_checked(host.len().wrapping_sub(own.len()))
                .is_some_and(|(below, end)| !below.is_empty() && own.as_bytes().eq_ignore_ascii_case(end)),
            Self::Any => true,
        }
    }
}

/// The host without its port, and without the dot that may end a name.
fn bare(authority: &[u8]) -> &[u8] {
    let end = match authority {
        [b'[', ..] => authority.iter().position(|&byte| byte == b']').map_or(authority.len(), |at| at + 1),
        _ => authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len()),
    };
    let host = &authority[..end];
    host.strip_suffix(b".").unwrap_or(host)
}

/// Whether a path is this one or below it.
fn is_below(own: &str, path: &[u8]) -> bool {
    path.strip_prefix(own.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/') || own.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(hosts: &[&str], paths: &[&str]) -> PoolConfig {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        PoolConfig { hosts: list(hosts), paths: list(paths), ..PoolConfig::new(Vec::new()) }
    }

    #[test]
    fn the_most_exact_host_decides_and_then_the_longest_path() {
        let directory = Directory::new(&[
            pool(&[], &[]),
            pool(&["shop.example"], &[]),
            pool(&["*.example"], &[]),
            pool(&["*.eu.example", "[::1]"], &[]),
            pool(&[], &["/api", "/v2/"]),
            pool(&["SHOP.example"], &["/api/admin"]),
        ]);
        for (authority, target, found) in [
            ("other", "/", 0),
            ("shop.example", "/", 1),
            ("Shop.Example.:8080", "/api?x", 1),
            ("shop.example", "/api/admin", 5),
            ("shop.example", "/api/administrator", 1),
            ("a.example", "/api", 2),
            ("example", "/", 0),
            ("a.b.eu.example:1", "/", 3),
            (".example", "/", 0),
            ("[::1]:80", "/", 3),
            ("other", "/api", 4),
            ("other", "/api?x=/y", 4),
            ("other", "/api/x", 4),
            ("other", "/apis", 0),
            ("other", "/v2", 4),
            ("other", "*", 0),
        ] {
            let is = directory.find(authority.as_bytes(), target.as_bytes());
            assert_eq!(is, Some(found), "{authority} {target}");
        }
    }

    #[test]
    fn what_no_pool_is_for_is_not_found() {
        let directory = Directory::new(&[pool(&["shop.example"], &["/a"])]);
        for (authority, target) in [("other", "/a"), ("shop.example", "/b"), ("shop.example", "*")] {
            assert_eq!(directory.find(authority.as_bytes(), target.as_bytes()), None);
        }
    }

    #[test]
    fn a_pool_without_hosts_and_paths_gets_everything() {
        let directory = Directory::new(&[pool(&[], &[])]);
        assert_eq!(directory.find(b"x", b"*"), Some(0));
    }
}
