//! The whole contract, a test for each promise.
use std::sync::Arc;

use example_own_store::MapStore;
use stayput_core::SessionStore;
use stayput_testkit::{ManualClock, store_conformance};

store_conformance!(|clock: Arc<ManualClock>| async move {
    Arc::new(MapStore::new(clock)) as Arc<dyn SessionStore>
});
