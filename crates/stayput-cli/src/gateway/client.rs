//! A client of the admin interface: one request, one answer, one connection.
//!
//! The token goes nowhere but into the request's `Authorization`.

use std::fs;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::cli::{AdminArgs, TOKEN_VARIABLE};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::up::Note;

pub(super) struct Client {
    address: String,
    token: String,
    token_from: String,
}

impl Client {
    /// Finds out where the gateway is and what it wants to hear.
    pub(super) fn new(args: &AdminArgs) -> Result<Self, Failure> {
        let data_dir = match (&args.data_dir, &args.config) {
            (Some(data_dir), _) => data_dir.clone(),
            (None, config) => Config::load(config.as_deref())?.data_dir,
        };
        let address = match &args.admin {
            Some(address) => address.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            None => noted_address(&data_dir)?,
        };
        let (token, token_from) = token(args, &data_dir)?;
        Ok(Self { address, token, token_from })
    }

    /// The answer to a request; what the gateway refuses is a failure with its reasons.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        let silent = || Failure::other(format!("the gateway at {} does not answer", self.address));
        let (status, answer) = asked.map_err(|_| silent())??;
        if (200..300).contains(&status) { Ok(answer) } else { Err(self.refused(status, &answer)) }
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failure> {
        let failed = |error| self.unreachable().because(error);
        let stream = TcpStream::connect(self.resolved()?.as_slice()).await.map_err(failed)?;
        let failed = |error: hyper::Error| self.unreachable().because(error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("connection", "close")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
            .map_err(|error| Failure::usage("this can't be asked for").because(error))?;
        // The connection ends with its sender, whether the other side keeps it or not.
        let answer = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (answer, _) = tokio::join!(answer, connection);
        let (status, body) = answer.map_err(failed)?;
        let no_gateway = || Failure::other(format!("{} is no admin interface of a gateway", self.address));
        Ok((status, serde_json::from_slice(&body).map_err(|error| no_gateway().because(error))?))
    }

    fn resolved(&self) -> Result<Vec<std::net::SocketAddr>, Failure> {
        let failed = |error| {
            Failure::usage(format!("{} is no address", self.address)).because(error).way_out(
                "name it like --admin 127.0.0.1:9180; `stayput up` says where its admin interface is",
            )
        };
        self.address.to_socket_addrs().map(Iterator::collect).map_err(failed)
    }

    fn unreachable(&self) -> Failure {
        Failure::other(format!("no gateway can be reached at {}", self.address))
            .way_out("see that `stayput up` runs there, or say where with --admin or --data-dir")
    }

    fn refused(&self, status: u16, answer: &Value) -> Failure {
        if status == 401 {
            return Failure::other(format!("the gateway at {} refuses the token", self.address)).way_out(
                format!(
                    "it is from {}; name the right one with --token-file or {TOKEN_VARIABLE}",
                    self.token_from
                ),
            );
        }
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        let texts = |key: &str| -> Vec<_> {
            let list = answer[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let failure =
            Failure::other(text("error").unwrap_or_else(|| format!("the gateway answers {status}")));
        let failure = failure.listing(texts("mistakes"));
        match (texts("known"), text("way_out")) {
            (known, _) if !known.is_empty() => failure.way_out(format!("there is: {}", known.join(", "))),
            (_, Some(way_out)) => failure.way_out(way_out),
            _ => failure,
        }
    }
}

/// Where the gateway that uses this directory says that it is.
fn noted_address(data_dir: &Path) -> Result<String, Failure> {
    let path = DataDir::admin_address_in(data_dir);
    Note::read(&path).map_err(|_| {
        Failure::other(format!(
            "no gateway with an admin interface runs with the data directory {}",
            data_dir.display()
        ))
        .way_out("start one with `stayput up`, or say where it is with --data-dir, --config or --admin")
    })
}

/// The token, and where it is from.
fn token(args: &AdminArgs, data_dir: &Path) -> Result<(String, String), Failure> {
    if args.token_file.is_none()
        && let Ok(token) = std::env::var(TOKEN_VARIABLE)
    {
        return Ok((token, TOKEN_VARIABLE.to_owned()));
    }
    let path: PathBuf = args.token_file.clone().unwrap_or_else(|| DataDir::admin_token_in(data_dir));
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::other(format!("cannot read the admin token {}", path.display())).because(error).way_out(format!(
            "run this as the user that the gateway runs as, or name the token with --token-file or {TOKEN_VARIABLE}"
        ))
    })?;
    Ok((text.trim().to_owned(), path.display().to_string()))
}

/// A name as it stands in a path.
pub(super) fn encoded(name: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(name, KEPT).to_string()
}

/// Longer than the gateway gives any answer.
const PATIENCE: Duration = Duration::from_secs(35);
