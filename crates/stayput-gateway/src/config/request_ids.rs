//! Whether requests get ids. How these are made is no setting.

/// What becomes of `X-Request-Id`, by which a request is found again in everybody's logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestIds {
    /// It is a field like any other.
    Off,
    /// Every request has an id of its own, which its upstream gets and the access log shows: the one that a trusted proxy
    /// sent, if that has 1 to 128 letters, digits and `-._~:/+=@`, else a new one. What anybody else sends is taken off.
    #[default]
    Forward,
    /// The client gets it, too, with the answer.
    Return,
}
