//! What is wrong, as JSON: what it is, and the way out.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ReloadError;
use crate::control::{ChangeError, UnknownUpstream};

#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
    /// The names that there are, where one was unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), way_out: None, known: None, mistakes: Vec::new() }
    }

    pub(super) fn way_out(self, way_out: impl Into<String>) -> Self {
        Self { way_out: Some(way_out.into()), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::UnknownPool { known, .. }
            | ChangeError::UnknownUpstream(UnknownUpstream { known, .. }) => {
                Self { known: Some(known), ..Self::new(StatusCode::NOT_FOUND, text) }
            }
            ChangeError::Mistakes(mistakes) => {
                let mistakes = mistakes.iter().map(ToString::to_string).collect();
                let error = "the pool can't be like that; nothing was changed";
                Self { mistakes, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, error) }
            }
        }
    }
}

impl From<ReloadError> for Problem {
    fn from(ReloadError(mistakes): ReloadError) -> Self {
        let error = "the configuration has mistakes; nothing was changed";
        Self { mistakes, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, error) }
            .way_out("correct them; `stayput config check FILE` reports them without a reload")
    }
}
