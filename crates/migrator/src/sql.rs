//! Splits SQL text into statements and tokens the way PostgreSQL's own scanner does, without judging the grammar.
//!
//! Rules: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>. Nothing here fails: an unterminated literal
//! runs to the end of the text, and the server then says what is wrong with it.

use std::ops::Range;

/// What a piece of the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an unquoted identifier.
    Word,
    /// A string constant, a dollar-quoted one or a quoted identifier.
    Quoted,
    Number,
    /// One character of punctuation.
    Symbol,
    Comment,
}

/// One token and its position, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// One statement without its semicolon, surrounding space and comments before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// Byte offset of `text` in the whole.
    pub(crate) start: usize,
    pub(crate) text: &'a str,
    /// The first words in upper case, enough to see what kind of statement it is.
    pub(crate) words: Vec<String>,
}

/// All tokens of `sql`; white space is left out.
pub(crate) fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        if first.is_whitespace() || first == '\u{feff}' {
            at += first.len_utf8();
            continue;
        }
        let (kind, end) = scan(sql, at, first);
        tokens.push(Token {
            kind,
            range: at..end,
        });
        at = end;
    }
    tokens
}

fn scan(sql: &str, at: usize, first: char) -> (Kind, usize) {
    let rest = &sql[at..];
    if rest.starts_with("--") {
        return (Kind::Comment, at + rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, at + block_comment(rest));
    }
    match first {
        '\'' => (Kind::Quoted, at + quoted(rest, '\'', false)),
        '"' => (Kind::Quoted, at + quoted(rest, '"', false)),
        '$' => match dollar_quoted(rest) {
            Some(length) => (Kind::Quoted, at + length),
            None => (Kind::Symbol, at + 1),
        },
        'e' | 'E' if rest[1..].starts_with('\'') => {
            (Kind::Quoted, at + 1 + quoted(&rest[1..], '\'', true))
        }
        _ if first.is_alphabetic() || first == '_' || !first.is_ascii() => {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()))
                .unwrap_or(rest.len());
            (Kind::Word, at + end)
        }
        _ if first.is_ascii_digit() => {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                .unwrap_or(rest.len());
            (Kind::Number, at + end)
        }
        _ => (Kind::Symbol, at + first.len_utf8()),
    }
}

/// Length of a block comment; PostgreSQL's comments nest.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Length of a literal that begins with `quote`; a doubled quote stays inside, a backslash escapes only where `escapes` says so.
fn quoted(rest: &str, quote: char, backslash: bool) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && backslash {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + c.len_utf8();
        }
    }
    rest.len()
}

/// Length of `$tag$ … $tag$`, or `None` when the dollar begins none (a parameter such as `$1`).
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = 1 + rest[1..].find('$')?;
    let name = &rest[1..tag_end];
    if name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(|c| c.is_alphanumeric() || c == '_')
    {
        return None;
    }
    let delimiter = &rest[..=tag_end];
    let body = &rest[delimiter.len()..];
    Some(
        body.find(delimiter)
            .map_or(rest.len(), |end| end + 2 * delimiter.len()),
    )
}

/// The statements of `sql`; empty ones are left out, as the server answers nothing for them.
pub(crate) fn statements(sql: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut open: Option<Open> = None;
    for token in tokens(sql) {
        if token.kind == Kind::Comment {
            continue;
        }
        let text = &sql[token.range.clone()];
        let ends = text == ";" && open.as_ref().is_none_or(|statement| statement.depth == 0);
        if ends {
            found.extend(open.take().map(|statement| statement.close(sql)));
        } else {
            open.get_or_insert_with(|| Open::at(token.range.start))
                .push(token.kind, text, token.range.end);
        }
    }
    found.extend(open.take().map(|statement| statement.close(sql)));
    found
}

/// A statement whose end has not been seen.
struct Open {
    start: usize,
    end: usize,
    words: Vec<String>,
    /// Parentheses, and the blocks of a routine whose body is SQL itself: `BEGIN ATOMIC … END`.
    depth: usize,
    atomic: bool,
}

impl Open {
    fn at(start: usize) -> Self {
        Self {
            start,
            end: start,
            words: Vec::new(),
            depth: 0,
            atomic: false,
        }
    }

    fn push(&mut self, kind: Kind, text: &str, end: usize) {
        self.end = end;
        match (kind, text) {
            (Kind::Symbol, "(") => self.depth += 1,
            (Kind::Symbol, ")") => self.depth = self.depth.saturating_sub(1),
            (Kind::Word, _) => self.push_word(text.to_ascii_uppercase()),
            _ => {}
        }
    }

    fn push_word(&mut self, word: String) {
        let routine = self.words.first().is_some_and(|first| first == "CREATE")
            && self
                .words
                .iter()
                .take(4)
                .any(|word| word == "FUNCTION" || word == "PROCEDURE");
        match word.as_str() {
            "ATOMIC" if routine && self.words.last().is_some_and(|last| last == "BEGIN") => {
                (self.atomic, self.depth) = (true, self.depth + 1);
            }
            "CASE" if self.atomic => self.depth += 1,
            "END" if self.atomic => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.words.push(word);
    }

    fn close(self, sql: &str) -> Statement<'_> {
        Statement {
            start: self.start,
            text: &sql[self.start..self.end],
            words: self.words,
        }
    }
}

impl Statement<'_> {
    /// Whether the statement begins with these words.
    pub(crate) fn begins(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len()
            && self
                .words
                .iter()
                .zip(words)
                .all(|(have, want)| have == want)
    }

    /// `BEGIN`, `COMMIT` and their like, which would end or nest the engine's own transaction.
    pub(crate) fn controls_transaction(&self) -> bool {
        self.begins(&["BEGIN"])
            || self.begins(&["START", "TRANSACTION"])
            || self.begins(&["COMMIT"])
            || self.begins(&["END"])
            || self.begins(&["ROLLBACK"]) && !self.words.contains(&"TO".to_owned())
            || self.begins(&["ABORT"])
            || self.begins(&["PREPARE", "TRANSACTION"])
    }

    /// Whether PostgreSQL refuses the statement inside a transaction block (SQLSTATE 25001).
    pub(crate) fn refuses_transaction(&self) -> bool {
        self.begins(&["VACUUM"])
            || self.begins(&["ALTER", "SYSTEM"])
            || matches!(
                self.words.first().map(String::as_str),
                Some("CREATE" | "DROP")
            ) && matches!(
                self.words.get(1).map(String::as_str),
                Some("DATABASE" | "TABLESPACE")
            )
            || matches!(
                self.words.first().map(String::as_str),
                Some("CREATE" | "DROP" | "REINDEX" | "ALTER")
            ) && self.words.contains(&"CONCURRENTLY".to_owned())
    }
}

/// The tokens of `sql` as they are written, without comments.
pub(crate) fn code(sql: &str) -> Vec<&str> {
    let tokens = tokens(sql).into_iter();
    tokens
        .filter(|token| token.kind != Kind::Comment)
        .map(|token| &sql[token.range])
        .collect()
}

/// `text` as a string constant.
pub fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}

/// `name` as an identifier, whatever characters it holds.
pub fn identifier(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// The statement as a message of its own inside a longer one. A prepared statement keeps the text of the message that it came in,
/// and EXECUTE copies that text each time: a hundred migrations would copy all of themselves a hundred times.
pub(crate) fn as_do_block(statement: &str) -> String {
    let block = format!("BEGIN EXECUTE {}; END", literal(statement));
    format!("DO {}", literal(&block))
}

#[cfg(test)]
mod tests;
