//! Reading a TOML file setting by setting, so that all mistakes are found and each has its place.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with a file. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    line: usize,
    column: usize,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// A file that is being read.
pub(crate) struct Reader<'i> {
    text: &'i str,
    mistakes: Vec<Mistake>,
}

impl<'i> Reader<'i> {
    /// Parses the syntax. Whatever could be understood is in the section.
    pub(crate) fn open(text: &'i str) -> (Self, Section<'i>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Self { text, mistakes: Vec::new() };
        for error in errors {
            reader.mistake(error.span().unwrap_or(0..0), error.message());
        }
        let span = table.span();
        (
            reader,
            Section {
                name: String::new(),
                span,
                table: table.into_inner(),
                asked: Vec::new(),
                is_there: true,
            },
        )
    }

    pub(crate) fn mistake(&mut self, place: Range<usize>, message: impl Into<String>) {
        let before = &self.text[..self.text.floor_char_boundary(place.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        self.mistakes.push(Mistake { line, column, message: message.into() });
    }

    /// All mistakes, in the order of their places.
    pub(crate) fn finish(mut self) -> Vec<Mistake> {
        self.mistakes.sort();
        self.mistakes
    }
}

/// A table of the file, whose settings are taken out one by one.
pub(crate) struct Section<'i> {
    name: String,
    span: Range<usize>,
    table: DeTable<'i>,
    asked: Vec<&'static str>,
    is_there: bool,
}

impl<'i> Section<'i> {
    /// A table that was found in a list.
    pub(crate) fn listed(name: &str, span: Range<usize>, table: DeTable<'i>) -> Self {
        Self { name: name.to_owned(), span, table, asked: Vec::new(), is_there: true }
    }

    /// Whether the file has it.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where it stands; if it is not there, where what it belongs to does.
    pub(crate) fn place(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The table under `key`; an empty one if there is none.
    pub(crate) fn section(&mut self, reader: &mut Reader<'i>, key: &'static str) -> Self {
        let name = self.full_name(key);
        let value = self.take(key);
        let is_there = value.is_some();
        let (span, table) = match value {
            None => (self.span.clone(), DeTable::new()),
            Some(value) => {
                let span = value.span();
                match value.into_inner() {
                    DeValue::Table(table) => (span, table),
                    other => {
                        let found = other.type_str();
                        reader.mistake(
                            span.clone(),
                            format!("[{name}] must be a table, and is of type {found}"),
                        );
                        (span, DeTable::new())
                    }
                }
            }
        };
        Section { name, span, table, asked: Vec::new(), is_there }
    }

    /// The value under `key`, for what is no plain setting.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.remove(key)
    }

    /// Sets `target` to the value under `key`, if there is one; gives its place.
    pub(crate) fn read<T>(
        &mut self,
        reader: &mut Reader<'i>,
        key: &'static str,
        target: &mut T,
        parse: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) -> Range<usize> {
        let Some(value) = self.take(key) else { return self.span.clone() };
        let span = value.span();
        match parse(value.get_ref()) {
            Ok(value) => *target = value,
            Err(expected) => {
                let name = self.full_name(key);
                reader.mistake(span.clone(), format!("`{name}` must be {expected}"));
            }
        }
        span
    }

    /// Reports what nobody asked for.
    pub(crate) fn finish(self, reader: &mut Reader<'i>) {
        for key in self.table.keys() {
            let known = |key: &str| {
                let close = self.asked.iter().min_by_key(|asked| strsim::damerau_levenshtein(asked, key))?;
                (strsim::damerau_levenshtein(close, key) <= 3).then_some(*close)
            };
            let hint = known(key.get_ref()).map(|close| format!("; did you mean `{close}`?"));
            let name = self.full_name(key.get_ref());
            reader.mistake(key.span(), format!("no setting is called `{name}`{}", hint.unwrap_or_default()));
        }
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
