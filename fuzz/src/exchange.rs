//! What the targets that send whole requests have in common.

use http::HeaderValue;

/// The name and the value that a `Set-Cookie` sets.
pub(super) fn name_and_value(cookie: &HeaderValue) -> (String, String) {
    let text = cookie.to_str().expect("cookies are text");
    let pair = text.split(';').next().unwrap_or(text);
    let (name, value) = pair.split_once('=').expect("a cookie has a name");
    (name.to_owned(), value.to_owned())
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without threads and sockets needs nothing").block_on(future)
}
