//! What holds for Redis beyond the contract.

use std::sync::Arc;

use stayput_testkit::ManualClock;
use stayput_testkit::conformance::StoreUnderTest;
use stayput_testkit::servers::RedisServerOptions;

use super::*;

stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
    let server = RedisServerOptions::default().clock(clock).start();
    let store = RedisStore::connect(&format!("redis://127.0.0.1:{}", server.port())).await.unwrap();
    StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, server)).deletes_by_itself()
});
