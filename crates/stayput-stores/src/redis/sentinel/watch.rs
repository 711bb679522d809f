//! Listens to one sentinel at a time, so that a failover is known at once and not by what fails after it.
//!
//! A message is taken for no more than a reason to ask. The same is asked every second: messages get lost, and a connection
//! that nothing comes from can't be told from one that is cut.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::told::{self, Told};
use super::{Asker, Host, late};
use crate::redis::connector::Pause;
use crate::redis::link::Link;

/// What the sentinel of the moment tells. It ends with this value.
pub(super) struct Watch {
    told: watch::Receiver<Option<Told>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(asker: Asker, sentinels: VecDeque<Host>) -> Self {
        let (sender, told) = watch::channel(None);
        Self { told, task: tokio::spawn(asker.keep_listening(sentinels, sender)) }
    }

    /// What was told last.
    pub(super) fn told(&mut self) -> Option<Told> {
        self.told.borrow_and_update().clone()
    }

    /// What was told up to now is no news any more.
    pub(super) fn mark_seen(&mut self) {
        self.told.mark_unchanged();
    }

    /// Returns when something else is told.
    pub(super) async fn news(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asker {
    async fn keep_listening(self, mut sentinels: VecDeque<Host>, told: watch::Sender<Option<Told>>) {
        let mut pause = Pause::default();
        loop {
            let sentinel = &sentinels[0];
            if let Err(error) = self.listen(sentinel, &told, &mut pause).await {
                tracing::debug!(%sentinel, %error, "a sentinel can't be listened to");
            }
            sentinels.rotate_left(1);
            sleep(pause.next()).await;
        }
    }

    async fn listen(
        &self,
        sentinel: &Host,
        told: &watch::Sender<Option<Told>>,
        pause: &mut Pause,
    ) -> RedisResult<()> {
        let (config, heard) = (self.config.at(sentinel), Arc::new(Notify::new()));
        let open = Link::listen(&config, self.tls.as_ref(), "+switch-master", Arc::clone(&heard));
        let link = timeout(self.limit, open).await.unwrap_or_else(|_| Err(late()))?;
        loop {
            let ask = told::by(&link, &self.service);
            let now = timeout(self.limit, ask).await.unwrap_or_else(|_| Err(late()))?;
            *pause = Pause::default();
            told.send_if_modified(|before| {
                let is_news = before.as_ref() != Some(&now);
                *before = Some(now);
                is_news
            });
            let _ = timeout(PERIOD, heard.notified()).await;
        }
    }
}

const PERIOD: Duration = Duration::from_secs(1);
