//! What the server tells of changes, whoever makes them: by `CLIENT TRACKING` in broadcast mode, on connections of their own.
//!
//! It never claims more than it was told: a pulse comes only when every server that the store's calls go to has just answered,
//! as what it was when listening began. Whatever breaks or changes that ends the pulses, and everything begins again with
//! [`Invalidation::Lost`].

mod ear;
mod listener;
mod places;
mod queue;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use stayput_core::{Clock, Invalidation, SystemClock};
use tokio::task::JoinHandle;

use self::listener::Listener;
use self::places::Places;
use self::queue::Queue;
use super::RedisStore;
use super::client::Call;
use super::script::{Run, TELL_AGAIN};

impl RedisStore {
    /// Begins to listen, in a task that ends with the stream, or with the store.
    pub(super) fn listen(&self) -> Told {
        let queue = Arc::new(Queue::default());
        let listener = Listener::new(Places::of(self.client.servers()), Arc::clone(&queue));
        Told { queue, task: tokio::spawn(listener.keep_listening()) }
    }
}

impl RedisStore {
    /// Has the removal of records told by a message of its own, after it was answered.
    ///
    /// The server makes one message of all that it does to a key before it looks at its connections again: a removal and a swap
    /// just before it. Who made that swap would take the message for its own, and keep what it wrote. One that fails leaves the
    /// removal as it is; it is then told when a lease is over.
    pub(super) async fn tell_again(&self, call: &mut Call<'_>, names: &[&[u8]]) {
        let keys: Vec<_> = names.iter().map(|name| [*name]).collect();
        let runs: Vec<_> =
            keys.iter().map(|keys| Run { script: &TELL_AGAIN, keys, arguments: &[] }).collect();
        if let Err(error) = call.run_all(&runs).await {
            tracing::debug!(%error, "a removal may not be told at once");
        }
    }
}

/// What was told and is still to be read.
pub(super) struct Told {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

impl Stream for Told {
    type Item = Invalidation;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        self.queue.poll(context, SystemClock.uptime())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
