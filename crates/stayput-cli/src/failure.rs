//! How the binary ends when it can't do what it was asked to: one message, the way out, the exit code.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

/// A failure to be reported to a person.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    /// What the message is about, one by one.
    list: Vec<String>,
    way_out: Option<String>,
}

impl Failure {
    /// Bad usage or configuration: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), list: Vec::new(), way_out: None }
    }

    /// Anything else: exit code 1.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), list: Vec::new(), way_out: None }
    }

    /// Adds the causes, outermost first; one that only repeats the one before it is left out.
    pub(crate) fn because(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        let mut cause: Option<&dyn Error> = Some(&*error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !self.message.ends_with(&text) {
                let _ = write!(self.message, ": {text}");
            }
            cause = error.source();
        }
        self
    }

    /// Adds what it is about, one by one: all mistakes, say.
    pub(crate) fn listing(self, list: Vec<String>) -> Self {
        Self { list, ..self }
    }

    /// All that is wrong, each by itself.
    pub(crate) fn into_list(self) -> Vec<String> {
        if self.list.is_empty() { vec![self.message] } else { self.list }
    }

    /// Adds what to do about it.
    pub(crate) fn way_out(mut self, way_out: impl Into<String>) -> Self {
        self.way_out = Some(way_out.into());
        self
    }

    /// Tells it on standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("stayput: {}", self.message);
        self.list.iter().for_each(|each| eprintln!("  {each}"));
        if let Some(way_out) = &self.way_out {
            eprintln!("  -> {way_out}");
        }
        ExitCode::from(self.code)
    }
}
