//! The first words on a connection: who it is, which database, and by what name the server's own lists show it.

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use super::Link;
use crate::redis::config::RedisConfig;
use crate::redis::message::Message;

impl Link {
    /// Logs in. A connection that also listens speaks RESP3, in which messages can't be mistaken for answers.
    pub(super) async fn log_in(&self, config: &RedisConfig, is_listening: bool) -> RedisResult<()> {
        let mut words = Pipeline::new();
        let login = login(config, is_listening);
        if let Some(login) = &login {
            words.add_command(login.clone());
        }
        if config.database != 0 {
            words.cmd("SELECT").arg(config.database);
        }
        let needed = words.len();
        // A server that doesn't know these words is as good.
        words.cmd("CLIENT").arg("SETINFO").arg("LIB-NAME").arg("stayput");
        words.cmd("CLIENT").arg("SETINFO").arg("LIB-VER").arg(env!("CARGO_PKG_VERSION"));
        for (number, answer) in
            self.send_all(words.cmd_iter().map(Message::Command)).await?.into_iter().enumerate().take(needed)
        {
            match answer {
                Err(error) if number == 0 && login.is_some() => return Err(refusal(error)),
                answer => drop(answer?),
            }
        }
        Ok(())
    }

    /// Has messages of a channel told to whoever listens.
    pub(super) async fn subscribe(&self, channel: &str) -> RedisResult<Value> {
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(channel);
        self.send(&subscribe).await
    }
}

fn login(config: &RedisConfig, is_listening: bool) -> Option<Cmd> {
    let (user, password) = (config.user.as_deref(), config.password.as_deref());
    if is_listening {
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = password {
            hello.arg("AUTH").arg(user.unwrap_or("default")).arg(password);
        }
        return Some(hello);
    }
    let mut auth = redis::cmd("AUTH");
    auth.arg(user).arg(password?);
    Some(auth)
}

/// Whatever words a server has for it. One that isn't to be talked to at the moment says so by a code of its own.
fn refusal(error: RedisError) -> RedisError {
    match error.code() {
        Some("ERR" | "WRONGPASS") => (ErrorKind::AuthenticationFailed, "the login was refused").into(),
        _ => error,
    }
}
