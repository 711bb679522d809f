//! `[policy]`: the rules that sessions live by. What they must fulfil is the library's to say; here each mistake gets the
//! place of its setting.

use std::num::NonZeroU32;
use std::ops::Range;

use stayput::{CookiePolicy, Overflow, Policy, PolicyError, Remember, SessionLimit};

use super::reader::{Reader, Section};
use super::values;

/// Where each setting stands, by what mistakes about it begin with.
type Places = Vec<(&'static str, Range<usize>)>;

/// Reads the section and checks it for sample servers that are reached by plain http on loopback, or by https.
pub(super) fn read<'i>(reader: &mut Reader<'i>, mut section: Section<'i>, is_plain_loopback: bool) -> Policy {
    let mut policy = Policy::web();
    let preset = section.read(reader, "preset", &mut policy, values::preset);
    let mut places = read_lifetimes(reader, &mut section, &mut policy);
    read_remember(reader, &mut section, &mut policy, &mut places);
    places.push(("max_data", section.read(reader, "max_data", &mut policy.max_data, values::count)));
    places.push(("max_values", section.read(reader, "max_values", &mut policy.max_values, values::count)));
    section.read(reader, "record_format", &mut policy.record_format, values::record_format);
    policy.session_limit = read_limit(reader, &mut section, policy.session_limit);
    policy.cookie = read_cookie(reader, &mut section, &policy.cookie, &mut places);
    section.finish(reader);

    let cookie = policy.cookie.clone();
    let cookie = if is_plain_loopback { cookie.danger_plain_http() } else { cookie };
    let checked = Policy { cookie, ..policy.clone() }.validate();
    for mistake in checked.err().iter().flat_map(PolicyError::mistakes) {
        let place = places.iter().find(|(key, _)| mistake.starts_with(key)).map(|(_, place)| place.clone());
        reader.mistake(place.unwrap_or(preset.clone()), format!("policy: {mistake}"));
    }
    policy
}

/// A cookie's name without what browsers hold it to.
pub(super) fn without_prefix(name: &str) -> &str {
    ["__Host-", "__Secure-"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

fn read_lifetimes<'i>(reader: &mut Reader<'i>, section: &mut Section<'i>, policy: &mut Policy) -> Places {
    let mut places = Vec::new();
    for (key, target) in [
        ("idle_timeout", &mut policy.idle_timeout),
        ("absolute_timeout", &mut policy.absolute_timeout),
        ("anonymous_idle_timeout", &mut policy.anonymous_idle_timeout),
        ("renewal_interval", &mut policy.renewal_interval),
        ("grace", &mut policy.grace),
        ("store_timeout", &mut policy.store_timeout),
        ("max_age", &mut policy.max_age),
    ] {
        places.push((key, section.read(reader, key, target, values::duration)));
    }
    let interval = |value: &_| values::duration(value).map(Some);
    places.push((
        "touch_interval",
        section.read(reader, "touch_interval", &mut policy.touch_interval, interval),
    ));
    section.read(reader, "activity", &mut policy.activity, values::activity);
    section.read(reader, "outage", &mut policy.outage, values::outage);
    places.push(("on_wiped", section.read(reader, "on_wiped", &mut policy.on_wiped, values::on_wiped)));
    places
}

fn read_remember<'i>(
    reader: &mut Reader<'i>,
    section: &mut Section<'i>,
    policy: &mut Policy,
    places: &mut Places,
) {
    let mut allowed = policy.remember.is_some();
    let mut inner = section.section(reader, "remember");
    inner.read(reader, "allowed", &mut allowed, values::boolean);
    let mut remember = policy.remember.or(Policy::web().remember).expect("the web preset remembers");
    for (key, name, target) in [
        ("idle_timeout", "remember.idle_timeout", &mut remember.idle_timeout),
        ("absolute_timeout", "remember.absolute_timeout", &mut remember.absolute_timeout),
    ] {
        places.push((name, inner.read(reader, key, target, values::duration)));
    }
    inner.finish(reader);
    policy.remember = Some(remember).filter(|_: &Remember| allowed);
}

fn read_limit<'i>(
    reader: &mut Reader<'i>,
    section: &mut Section<'i>,
    preset: Option<SessionLimit>,
) -> Option<SessionLimit> {
    let mut most = preset.map_or(0, |limit| limit.most.get() as usize);
    let mut overflow = preset.map_or(Overflow::EndOldest, |limit| limit.overflow);
    section.read(reader, "max_sessions", &mut most, values::within(0, 1_000_000));
    section.read(reader, "overflow", &mut overflow, values::overflow);
    let most = u32::try_from(most).ok().and_then(NonZeroU32::new)?;
    Some(SessionLimit { most, overflow })
}

fn read_cookie<'i>(
    reader: &mut Reader<'i>,
    section: &mut Section<'i>,
    preset: &CookiePolicy,
    places: &mut Places,
) -> CookiePolicy {
    let (mut name, mut same_site) = ("stayput".to_owned(), preset.chosen_same_site());
    let (mut domain, mut path) = (None, "/".to_owned());
    places.push(("cookie name", section.read(reader, "cookie_name", &mut name, values::string)));
    places.push(("same_site", section.read(reader, "same_site", &mut same_site, values::same_site)));
    let some = |value: &_| values::string(value).map(Some);
    places.push(("cookie domain", section.read(reader, "cookie_domain", &mut domain, some)));
    places.push(("cookie path", section.read(reader, "cookie_path", &mut path, values::string)));
    let mut flag = |key, place| {
        let mut value = false;
        places.push((place, section.read(reader, key, &mut value, values::boolean)));
        value
    };
    let partitioned = flag("cookie_partitioned", "cookie partitioned");
    let persistent = flag("cookie_persistent", "cookie_persistent");
    let clears_all = flag("clear_all_cookies_at_logout", "clear_all_cookies_at_logout");
    let unprefixed = flag("danger_cookie_without_host_prefix", "danger_cookie_without_host_prefix");

    let mut cookie = CookiePolicy::default().name(name).same_site(same_site).path(path);
    if let Some(domain) = domain {
        cookie = cookie.domain(domain);
    }
    let set_if = |cookie: CookiePolicy, is_set, set: fn(CookiePolicy) -> CookiePolicy| {
        if is_set { set(cookie) } else { cookie }
    };
    let cookie = set_if(cookie, partitioned, CookiePolicy::partitioned);
    let cookie = set_if(cookie, persistent, CookiePolicy::persistent);
    let cookie = set_if(cookie, clears_all, CookiePolicy::clear_all_at_logout);
    set_if(cookie, unprefixed, CookiePolicy::danger_without_host_prefix)
}
