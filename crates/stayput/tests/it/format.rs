//! What docs/format.md says of cookies and records is what is read and written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use stayput::{Keyring, Policy, Random, RecordFormat, Session, SessionStore, Sessions, Subject};
use stayput_core::{CookieValue, Record, RecordError, StorageKey};
use stayput_testkit::{ManualClock, ModelStore};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::SESSION;

/// The vectors of the document: name and value, a line each.
fn vectors() -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("../../../../docs/format.md");
    let block = text.split("```vectors\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().filter_map(|line| line.split_once(' ')).map(|(name, value)| (name, value.trim())).collect()
}

/// Chance that counts, for what is written to be the same each time.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, out: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        out.iter_mut().zip(number.into_iter().cycle()).for_each(|(byte, value)| *byte = value);
    }
}

fn sessions(store: Arc<ModelStore>, clock: Arc<ManualClock>) -> Sessions {
    sessions_in(RecordFormat::V1, store, clock)
}

fn sessions_in(record_format: RecordFormat, store: Arc<ModelStore>, clock: Arc<ManualClock>) -> Sessions {
    let keyring = Keyring::parse(vectors()["keyring"]).unwrap();
    let policy = Policy { record_format, ..Policy::web() };
    let builder = Sessions::builder_shared(store).keyring(keyring).policy(policy);
    builder.clock(clock).random(Arc::new(Counting::default())).build().unwrap()
}

/// Runs `handler` with a session, as the client that has `cookie`, and gives back the cookie of the answer.
async fn ask<F, Fut>(sessions: &Sessions, cookie: Option<&str>, handler: F) -> Option<String>
where
    F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), stayput::Error>> + Send + 'static,
{
    let mut request = http::Request::new(());
    if let Some(cookie) = cookie {
        request.headers_mut().insert("cookie", format!("{SESSION}={cookie}").parse().unwrap());
    }
    let service = service_fn(move |request: http::Request<()>| {
        let done = handler(Session::of(&request.into_parts().0).unwrap());
        async move { done.await.map(|()| http::Response::new(())) }
    });
    let response = sessions.layer().layer(service).oneshot(request).await.unwrap();
    let set = response.headers().get_all("set-cookie").iter().map(|header| header.to_str().unwrap());
    set.filter_map(|header| header.strip_prefix(&format!("{SESSION}=")))
        .map(|rest| rest.split(';').next().unwrap().to_owned())
        .next()
}

fn key() -> StorageKey {
    StorageKey::from_bytes(HEXLOWER.decode(vectors()["key"].as_bytes()).unwrap().try_into().unwrap())
}

#[tokio::test]
async fn a_session_is_written_as_the_document_says() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(ModelStore::new(clock.clone()));
    let sessions = sessions(store.clone(), clock);
    let cookie = ask(&sessions, None, |session| async move {
        session.insert("cart", ["tea", "milk"])?;
        session.login(Subject::new("alice")).await
    });
    let cookie = cookie.await.unwrap();
    let record = store.load(key()).await.unwrap().map(|record| HEXLOWER.encode(&record.encode()));
    assert_eq!((&*cookie, record.as_deref()), (vectors()["cookie"], Some(vectors()["record"])));
}

#[tokio::test]
async fn a_session_of_the_document_is_read() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(ModelStore::new(clock.clone()));
    let bytes = HEXLOWER.decode(vectors()["record"].as_bytes()).unwrap();
    let record = Record::decode(&bytes).unwrap();
    assert_eq!(record.encode(), bytes);
    let _ = store.create(key(), record).await.unwrap();
    let sessions = sessions(store, clock);
    ask(&sessions, Some(vectors()["cookie"]), |session| async move {
        assert_eq!(session.subject().await?.unwrap().as_str(), "alice");
        assert_eq!(session.get::<Vec<String>>("cart").await?.unwrap(), ["tea", "milk"]);
        Ok(())
    })
    .await;
}

/// What compresses may say the same in other bytes with each of its releases.
#[tokio::test]
async fn a_compressed_session_is_read_as_the_document_says() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(ModelStore::new(clock.clone()));
    let sessions = sessions_in(RecordFormat::V2, store.clone(), clock);
    ask(&sessions, None, |session| async move {
        session.insert("note", "tea ".repeat(64))?;
        session.login(Subject::new("alice")).await
    })
    .await;
    let written = store.load(key()).await.unwrap().unwrap();
    let keyring = Keyring::parse(vectors()["keyring"]).unwrap();
    let document = Record::decode(&HEXLOWER.decode(vectors()["compressed"].as_bytes()).unwrap()).unwrap();
    assert_eq!(document.header, written.header);
    assert_eq!(document.open(&key(), &keyring), written.open(&key(), &keyring));
}

#[test]
fn the_parts_of_the_vectors_are_what_the_document_says() {
    let vectors = vectors();
    let keyring = Keyring::parse(vectors["keyring"]).unwrap();
    let cookie = CookieValue::decode(SESSION, vectors["cookie"].as_bytes(), &keyring).unwrap();
    assert_eq!(cookie.value.id.storage_key(), key());
    let bytes = HEXLOWER.decode(vectors["record"].as_bytes()).unwrap();
    let data = Record::decode(&bytes).unwrap().open(&key(), &keyring).unwrap();
    assert_eq!(HEXLOWER.encode(&data), vectors["data"]);
}

#[test]
fn a_record_of_a_newer_format_is_refused_by_its_number_and_not_taken_for_none() {
    let mut bytes = HEXLOWER.decode(vectors()["record"].as_bytes()).unwrap();
    bytes[0] = 3;
    let refused = Record::decode(&bytes).unwrap_err();
    assert_eq!(refused, RecordError::UnknownFormat(3));
    assert!(refused.to_string().contains("newer than this Stayput"));
}
