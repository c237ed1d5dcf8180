//! One statement's tokens, read from the left as a parser of its first words does.

use crate::sql::{self, Statement};

/// Tokens that are not read yet; comments are left out.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    /// The tokens of a statement.
    pub(crate) fn of(statement: &Statement<'a>) -> Self {
        Self {
            tokens: sql::code(statement.text),
            at: 0,
        }
    }

    fn left(&self) -> &[&'a str] {
        &self.tokens[self.at..]
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let next = self.left().first().copied()?;
        self.at += 1;
        Some(next)
    }

    /// Whether this word is next.
    pub(crate) fn is_at(&self, word: &str) -> bool {
        self.left()
            .first()
            .is_some_and(|next| next.eq_ignore_ascii_case(word))
    }

    /// Steps over these words if they are next.
    pub(crate) fn take(&mut self, words: &[&str]) -> bool {
        let same = |(next, word): (&&str, &&str)| next.eq_ignore_ascii_case(word);
        let next = self.left().get(..words.len());
        let matches = next.is_some_and(|next| next.iter().zip(words).all(same));
        if matches {
            self.at += words.len();
        }
        matches
    }

    /// Whether one of these words is left, anywhere.
    pub(crate) fn holds(&self, word: &str) -> bool {
        self.left()
            .iter()
            .any(|token| token.eq_ignore_ascii_case(word))
    }

    /// A name, with its schema where it has one, as written.
    pub(crate) fn name(&mut self) -> Option<String> {
        let is_name =
            |token: &str| token.starts_with(|c: char| c == '"' || c == '_' || c.is_alphabetic());
        let mut name = self
            .left()
            .first()
            .filter(|token| is_name(token))?
            .to_string();
        self.at += 1;
        while self.take(&["."]) {
            name.push('.');
            name.push_str(self.next()?);
        }
        Some(name)
    }

    /// Names with commas between them.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            self.take(&["*"]);
            if !self.take(&[","]) {
                break;
            }
        }
        names
    }

    /// Whether a token that is left is the table's own name.
    pub(crate) fn mentions(&self, table: &str) -> bool {
        let own = table.rsplit('.').next().unwrap_or(table);
        self.holds(own)
    }
}
