//! An HTTP client that behaves like a browser: it keeps cookies, and sends them back as their attributes say.
//!
//! It asks for JSON and follows no redirects, so that a test sees each answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::cookie::{CookieStore, Jar};
use reqwest::header::{ACCEPT, COOKIE, SET_COOKIE};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::Value;

/// A browser with a cookie jar of its own. Clones share it, like the tabs of one browser.
#[derive(Clone, Debug)]
pub struct Browser {
    client: Client,
    jar: Arc<Jar>,
    base: Url,
}

impl Browser {
    /// A browser for the site at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Panics
    ///
    /// If `base` is no URL.
    pub fn new(base: &str) -> Self {
        let jar = Arc::new(Jar::default());
        let client = Client::builder()
            .cookie_provider(jar.clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client without TLS can always be built");
        Self { client, jar, base: base.parse().expect("the base is a URL") }
    }

    /// The same cookies at another place.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.parse().expect("the base is a URL"), ..self.clone() }
    }

    /// `GET`.
    ///
    /// # Errors
    ///
    /// There was no complete answer.
    pub async fn get(&self, path: &str) -> reqwest::Result<Reply> {
        self.send(Method::GET, path, &[]).await
    }

    /// `POST` of a form.
    ///
    /// # Errors
    ///
    /// There was no complete answer.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Reply> {
        self.send(Method::POST, path, form).await
    }

    /// `GET` with exactly these bytes as the `Cookie` header, the jar's cookies left aside.
    ///
    /// # Errors
    ///
    /// There was no complete answer.
    pub async fn get_with_cookies(&self, path: &str, cookies: &[u8]) -> reqwest::Result<Reply> {
        let bare = Self::new(self.base.as_str());
        let request = bare.client.get(bare.url(path)).header(ACCEPT, JSON).header(COOKIE, cookies);
        Reply::of(request.send().await?).await
    }

    /// The value of the cookie `name` as it would be sent now.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let header = self.jar.cookies(&self.base)?;
        let pairs = header.to_str().ok()?.split("; ").filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    }

    fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("the path is a path")
    }

    async fn send(&self, method: Method, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Reply> {
        let request = self.client.request(method.clone(), self.url(path)).header(ACCEPT, JSON);
        let request = if method == Method::POST { request.form(form) } else { request };
        Reply::of(request.send().await?).await
    }
}

const JSON: &str = "application/json";

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub text: String,
    /// Its `Set-Cookie` headers.
    pub cookies: Vec<String>,
}

impl Reply {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        let status = response.status();
        let cookies = response.headers().get_all(SET_COOKIE).iter();
        let cookies = cookies.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        Ok(Self { status, cookies, text: response.text().await? })
    }
}
