//! The URL of a service under Sentinel, which names several hosts, as no other URL does.

use std::fmt;

use url::Url;

use crate::redis::config::{Address, RedisConfig, RedisUrlError, Trust, database, decoded, host_of, logins};

/// A service, and where its sentinels are.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::redis) struct Service {
    /// What the sentinels call it.
    pub(in crate::redis) name: String,
    /// At least one.
    pub(in crate::redis) sentinels: Vec<Host>,
    /// The sentinels' own; user and password of the URL are those of the servers.
    pub(in crate::redis) user: Option<String>,
    pub(in crate::redis) password: Option<String>,
}

/// Where somebody listens.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::redis) struct Host {
    pub(in crate::redis) name: String,
    pub(in crate::redis) port: u16,
}

/// Reads `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE`, but for what is behind the `?`.
pub(in crate::redis) fn parse(text: &str) -> Result<(Url, RedisConfig), RedisUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Malformed)?;
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let login = &authority[..authority.len() - hosts.len()];
    let mut sentinels = hosts.split(',').map(|host| {
        let url = Url::parse(&format!("redis://{host}")).map_err(|_| RedisUrlError::NoHost)?;
        Ok(Host { name: host_of(&url)?, port: url.port().unwrap_or(26379) })
    });
    let sentinels = sentinels.by_ref().collect::<Result<Vec<_>, RedisUrlError>>()?;
    let url =
        Url::parse(&format!("{scheme}://{login}sentinels{behind}")).map_err(|_| RedisUrlError::Malformed)?;
    let mut path = url.path().trim_start_matches('/').splitn(2, '/');
    let name = decoded(path.next().unwrap_or_default())?;
    if name.is_empty() {
        return Err(RedisUrlError::NoService);
    }
    let service = Service { name, sentinels, user: None, password: None };
    let mut config = RedisConfig::new(Address::Service(service));
    config.tls = scheme.starts_with("rediss").then_some(Trust::System);
    logins(&mut config, &url)?;
    if let Some(number) = path.next().filter(|number| !number.is_empty()) {
        config.database = database(number)?;
    }
    Ok((url, config))
}

/// Without user and password.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentinels: Vec<_> = self.sentinels.iter().map(Host::to_string).collect();
        write!(f, "{}/{}", sentinels.join(","), self.name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.name.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> (RedisConfig, Service) {
        let config: RedisConfig = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        let Address::Service(service) = config.address.clone() else { panic!("{url}: no service") };
        (config, service)
    }

    #[test]
    fn a_url_names_the_sentinels_and_the_service() {
        let (config, found) = service("redis+sentinel://10.0.0.1:7000,sentinel-2,[::1]:7002/sessions/3");
        let addresses: Vec<_> = found.sentinels.iter().map(Host::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1:7000", "sentinel-2:26379", "[::1]:7002"]);
        assert_eq!((found.name.as_str(), config.database), ("sessions", 3));
        assert_eq!(
            config.to_string(),
            "redis+sentinel://10.0.0.1:7000,sentinel-2:26379,[::1]:7002/sessions/3"
        );
        let (config, _) = service("rediss+sentinel://host/sessions?ca=/ca.pem&prefix=shop:&wait_replicas=2");
        assert!(config.tls == Some(Trust::Authorities("/ca.pem".into())));
        assert_eq!((config.prefix.as_str(), config.wait_replicas), ("shop:", 2));
    }

    #[test]
    fn servers_and_sentinels_have_logins_of_their_own_which_are_never_shown() {
        let url = "redis+sentinel://app:p%40s,s@a,b/sessions?sentinel_user=watch&sentinel_password=o%26o";
        let (config, found) = service(url);
        assert_eq!((config.user.as_deref(), config.password.as_deref()), (Some("app"), Some("p@s,s")));
        assert_eq!((found.user.as_deref(), found.password.as_deref()), (Some("watch"), Some("o&o")));
        assert_eq!(format!("{config:?}"), "RedisConfig(redis+sentinel://a:26379,b:26379/sessions/0)");
    }

    #[test]
    fn mistakes_say_the_way_out_and_no_password() {
        for (url, error) in [
            ("redis+sentinel://:hunter2@a,b", RedisUrlError::NoService),
            ("redis+sentinel://:hunter2@a,b/", RedisUrlError::NoService),
            ("redis+sentinel://:hunter2@/sessions", RedisUrlError::NoHost),
            ("redis+sentinel://:hunter2@a,,b/sessions", RedisUrlError::NoHost),
            ("redis+sentinel://a:hunter2,b/sessions", RedisUrlError::NoHost),
            ("redis+sentinel://:hunter2@a/sessions/three", RedisUrlError::Database),
            ("redis+sentinel:sessions", RedisUrlError::Malformed),
            (
                "redis://:hunter2@a?sentinel_password=x",
                RedisUrlError::UnknownOption("sentinel_password".into()),
            ),
            ("redis+sentinel://:hunter2@a/s?wait_replicas=all", RedisUrlError::Replicas),
        ] {
            assert_eq!(url.parse::<RedisConfig>().unwrap_err(), error, "{url}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
