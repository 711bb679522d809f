//! The parsers, for the fuzz targets in `fuzz/`. No part of the interface: nothing here is promised to stay.

use std::sync::{Arc, LazyLock};

use stayput_core::{Clock, Keyring, SystemClock, SystemRandom};

use crate::body::Body;
use crate::buffer::Buffer;
use crate::chunked::Chunked;
use crate::config::{PoolConfig, SiteConfig, UpstreamConfig};
use crate::framing::Framing;
use crate::head::{Lines, RequestHead, Scanner};
use crate::origin::Origin;
use crate::request;
use crate::site::Site;

/// The bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// A request's method, target and whether it is of HTTP/1.0, and its fields.
pub type Head = (Vec<u8>, String, bool, Vec<(Vec<u8>, Vec<u8>)>);

/// What was decoded, how many bytes that took, and whether the end has come.
pub type Decoded = (Vec<u8>, usize, bool);

/// Where the head ends of `bytes`, which arrive up to each of these places and then all.
///
/// # Errors
///
/// A line break of other than CR LF, before the end.
pub fn head_end(bytes: &[u8], arrivals: &[usize]) -> Result<Option<usize>, Malformed> {
    let mut scanner = Scanner::default();
    for &arrived in arrivals.iter().chain([&bytes.len()]) {
        if let Some(end) = scanner.scan(&bytes[..arrived]).map_err(|_| Malformed)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// What the head that `bytes` begin with says.
///
/// # Errors
///
/// It is none, or not whole.
pub fn read_head(bytes: &[u8]) -> Result<Head, Malformed> {
    let mut lines = Lines::new();
    let head = RequestHead::read(bytes, &mut lines).map_err(|_| Malformed)?;
    let fields = head.fields.list_unless(|_| false).map(|(name, value)| (name.to_vec(), value.to_vec()));
    Ok((head.method.to_vec(), head.target.to_owned(), head.is_1_0, fields.collect()))
}

/// The head that an upstream would get for the head `raw` of a client at 192.0.2.1.
///
/// # Errors
///
/// The status that the request is refused with.
pub fn request_head(raw: &[u8]) -> Result<Vec<u8>, u16> {
    static SITE: LazyLock<Site> = LazyLock::new(|| {
        let upstreams = vec![UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into())];
        let config = SiteConfig::new(vec![PoolConfig::new(upstreams)]);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Site::new(&config, &Keyring::generate(&SystemRandom), &clock, None)
    });
    let mut origin = Origin::new([192, 0, 2, 1].into(), &[], false);
    let mut out = Buffer::default();
    match request::read(raw, &SITE, b"gateway", &mut origin, &mut out) {
        Ok(_) => Ok(out.filled().to_vec()),
        Err(refusal) => Err(refusal.status()),
    }
}

/// The data of a chunked body that arrives in pieces of these sizes, as it is recognised on its way.
///
/// # Errors
///
/// The body is malformed.
pub fn chunked(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Result<Decoded, Malformed> {
    let (mut chunked, mut data, mut at) = (Chunked::new(), Vec::new(), 0);
    while at < bytes.len() && !chunked.is_done() {
        let end = bytes.len().min(at + piece());
        let run = chunked.next_run(&bytes[at..end]).map_err(|_| Malformed)?;
        if run.is_data {
            data.extend_from_slice(&bytes[at..at + run.length]);
        }
        at += run.length;
    }
    Ok((data, at, chunked.is_done()))
}

/// The same, as it is decoded for clients that know no coding.
///
/// # Errors
///
/// The body is malformed.
pub fn chunked_bare(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Result<Decoded, Malformed> {
    let mut body = Body::new(Framing::Chunked, None).map_err(|_| Malformed)?;
    let (mut data, mut at) = (Vec::new(), 0);
    while at < bytes.len() && !body.is_complete() {
        let mut arrived = bytes[at..bytes.len().min(at + piece())].to_vec();
        let (judged, bare) = body.accept_bare(&mut arrived).map_err(|_| Malformed)?;
        data.extend_from_slice(&arrived[..bare]);
        at += judged;
    }
    Ok((data, at, body.is_complete()))
}
