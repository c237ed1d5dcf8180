//! Splits SQL text into tokens and statements exactly where PostgreSQL's own scanner and grammar do, without judging the grammar.
//!
//! Rules: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>. Nothing here fails: what the server could not read, or
//! would read as something else, is a [`Problem`] of the [`Scan`], and whoever reads files refuses it. Every function passes over the
//! text once. Beside SQL it knows what psql does with `COPY … FROM STDIN`: the lines after it, up to `\.`, are its rows.

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
    /// The semicolon that ends a statement.
    End,
    /// Rows of the COPY before it.
    Rows,
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
    /// Line on which it begins, counted from 0.
    pub(crate) line: usize,
    pub(crate) text: &'a str,
    /// Its words in upper case, enough to see what kind of statement it is.
    pub(crate) words: Vec<String>,
    /// What a COPY FROM STDIN is to be given; such a statement goes through the COPY protocol.
    pub(crate) rows: Option<&'a str>,
    /// Whether it is a COPY to the client.
    pub(crate) copies_out: bool,
}

/// How a statement meets transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Begin,
    Commit,
    /// Undoes what stands before it.
    Rollback,
    /// `PREPARE TRANSACTION`, and what ends a prepared one.
    TwoPhase,
}

/// What the server cannot read, or would read differently from what the file seems to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A comment or literal of this name is left open.
    Open(&'static str),
    /// A backslash where no SQL has one: a command of psql.
    Backslash,
    /// COPY FROM STDIN without rows after it, up to a line `\.`.
    NoRows,
}

/// Everything that one pass over a text finds.
#[derive(Debug, Default)]
pub(crate) struct Scan<'a> {
    /// All tokens; white space is left out.
    pub(crate) tokens: Vec<Token>,
    /// Empty ones are left out, as the server answers nothing for them.
    pub(crate) statements: Vec<Statement<'a>>,
    /// The first problem and its byte offset.
    pub(crate) problem: Option<(usize, Problem)>,
    /// Whether a statement changes what a backslash in later ones means.
    pub(crate) changes_escapes: bool,
}

/// What sending a file must take care of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Its statements must be sent one by one: one needs rows, or changes how the server reads the next.
    pub(crate) apart: bool,
    /// It may leave the session with other settings or another role.
    pub(crate) session: bool,
}

impl Effects {
    pub(crate) fn of(scan: &Scan<'_>) -> Self {
        let mut statements = scan.statements.iter();
        Self {
            apart: scan.changes_escapes || statements.clone().any(|copy| copy.rows.is_some()),
            session: statements.any(Statement::may_change_session),
        }
    }
}

/// All tokens of `sql`; white space is left out.
pub(crate) fn tokens(sql: &str) -> Vec<Token> {
    scan(sql).tokens
}

/// The statements of `sql`; empty ones are left out, as the server answers nothing for them.
pub(crate) fn statements(sql: &str) -> Vec<Statement<'_>> {
    scan(sql).statements
}

/// One pass over `sql`.
pub(crate) fn scan(sql: &str) -> Scan<'_> {
    let mut scanner = Scanner::new(sql);
    while scanner.step() {}
    scanner.finish()
}

/// Lines of a text by byte offsets that only grow: each newline is counted once.
pub(crate) struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            line: 0,
        }
    }

    /// The line of `offset`, counted from 0.
    pub(crate) fn at(&mut self, offset: usize) -> usize {
        self.line += self.text[self.at..offset.max(self.at)]
            .matches('\n')
            .count();
        self.at = offset.max(self.at);
        self.line
    }
}

/// What the server takes for white space; a no-break space, for one, is part of a name.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_in_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn length(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    let end = bytes.iter().position(|byte| !is_part(*byte));
    end.unwrap_or(bytes.len())
}

struct Scanner<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
    lines: Lines<'a>,
    /// The statement whose end has not been seen.
    open: Option<Open>,
    /// Whether a plain string constant has backslash escapes: `standard_conforming_strings` is off.
    escapes: bool,
    /// Where a quote goes on with an escape string of a line before.
    continued: Option<usize>,
    /// Whether the next line is the first row of a COPY.
    expects_rows: bool,
    found: Scan<'a>,
}

impl<'a> Scanner<'a> {
    fn new(sql: &'a str) -> Self {
        Self {
            sql,
            bytes: sql.as_bytes(),
            at: 0,
            lines: Lines::of(sql),
            open: None,
            escapes: false,
            continued: None,
            expects_rows: false,
            found: Scan::default(),
        }
    }

    /// Passes over one token or character of white space; false at the end.
    fn step(&mut self) -> bool {
        let Some(&first) = self.bytes.get(self.at) else {
            return false;
        };
        if is_space(first) {
            self.at += 1;
            if first == b'\n' && self.expects_rows {
                self.rows();
            }
            return true;
        }
        let start = self.at;
        let (kind, length) = self.token(first);
        self.at += length;
        if self.expects_rows && kind != Kind::Comment {
            self.no_rows();
        }
        self.push(kind, start..self.at);
        true
    }

    fn finish(mut self) -> Scan<'a> {
        self.close();
        if self.expects_rows {
            self.no_rows();
        }
        self.found
    }

    fn problem(&mut self, at: usize, problem: Problem) {
        self.found.problem.get_or_insert((at, problem));
    }

    /// Kind and length of the token that begins here.
    fn token(&mut self, first: u8) -> (Kind, usize) {
        let rest = &self.bytes[self.at..];
        match (first, rest.get(1)) {
            (b'-', Some(b'-')) => (
                Kind::Comment,
                length(rest, |byte| byte != b'\n' && byte != b'\r'),
            ),
            (b'/', Some(b'*')) => self.block_comment(rest),
            (b'\'', _) => {
                let goes_on = self.continued.take() == Some(self.at);
                self.string(rest, 0, self.escapes || goes_on)
            }
            (b'e' | b'E', Some(b'\'')) => self.string(rest, 1, true),
            (b'b' | b'B' | b'x' | b'X', Some(b'\'')) => self.string(rest, 1, false),
            (b'u' | b'U', Some(b'&')) if rest.get(2) == Some(&b'\'') => self.string(rest, 2, false),
            (b'u' | b'U', Some(b'&')) if rest.get(2) == Some(&b'"') => self.name(rest, 2),
            (b'"', _) => self.name(rest, 0),
            (b'$', Some(b'0'..=b'9')) => (
                Kind::Number,
                1 + length(&rest[1..], |byte| byte.is_ascii_digit()),
            ),
            (b'$', _) => self.dollar(rest),
            (b'0'..=b'9', _) | (b'.', Some(b'0'..=b'9')) => (Kind::Number, number(rest)),
            _ if begins_word(first) => (Kind::Word, length(rest, is_in_word)),
            (b'\\', _) => {
                self.problem(self.at, Problem::Backslash);
                (Kind::Symbol, 1)
            }
            (b';', _) if self.open.as_ref().is_none_or(Open::may_end) => (Kind::End, 1),
            _ => (Kind::Symbol, 1),
        }
    }

    /// The length of something delimited, which runs to the end of the text if nothing closes it.
    fn delimited(&mut self, rest: &[u8], closed: Option<usize>, what: &'static str) -> usize {
        closed.unwrap_or_else(|| {
            self.problem(self.at, Problem::Open(what));
            rest.len()
        })
    }

    /// PostgreSQL's comments nest.
    fn block_comment(&mut self, rest: &[u8]) -> (Kind, usize) {
        let (mut at, mut depth) = (0, 0);
        let mut closed = None;
        while at < rest.len() && closed.is_none() {
            match &rest[at..] {
                [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            closed = (depth == 0).then_some(at);
        }
        (Kind::Comment, self.delimited(rest, closed, "comment"))
    }

    /// A string constant whose quote comes after `prefix` bytes.
    fn string(&mut self, rest: &[u8], prefix: usize, escapes: bool) -> (Kind, usize) {
        let closed = quoted(&rest[prefix..], b'\'', escapes).map(|length| prefix + length);
        let length = self.delimited(rest, closed, "quote");
        if escapes {
            self.continued = continuation(self.bytes, self.at + length);
        }
        (Kind::Quoted, length)
    }

    fn name(&mut self, rest: &[u8], prefix: usize) -> (Kind, usize) {
        let closed = quoted(&rest[prefix..], b'"', false).map(|length| prefix + length);
        (Kind::Quoted, self.delimited(rest, closed, "double quote"))
    }

    /// `$tag$ … $tag$`, or a dollar alone.
    fn dollar(&mut self, rest: &[u8]) -> (Kind, usize) {
        let tag = length(&rest[1..], |byte| is_in_word(byte) && byte != b'$');
        if rest.get(1 + tag) != Some(&b'$') {
            return (Kind::Symbol, 1);
        }
        let (delimiter, body) = self.sql[self.at..].split_at(tag + 2);
        let closed = body
            .find(delimiter)
            .map(|length| length + 2 * delimiter.len());
        (Kind::Quoted, self.delimited(rest, closed, "dollar quote"))
    }

    fn push(&mut self, kind: Kind, range: Range<usize>) {
        match kind {
            Kind::Comment => {}
            Kind::End => self.close(),
            _ => {
                let text = &self.sql[range.clone()];
                let lines = &mut self.lines;
                self.open
                    .get_or_insert_with(|| Open::at(range.start, lines.at(range.start)))
                    .push(kind, text, range.end);
            }
        }
        self.found.tokens.push(Token { kind, range });
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let statement = open.close(self.sql);
        self.expects_rows = statement.rows.is_some();
        let escapes = sets_escapes(&statement).unwrap_or(self.escapes);
        self.found.changes_escapes |= escapes != self.escapes;
        self.escapes = escapes;
        self.found.statements.push(statement);
    }

    /// The lines from here on, up to one that is `\.`.
    fn rows(&mut self) {
        self.expects_rows = false;
        let start = self.at;
        for line in self.sql[start..].split_inclusive('\n') {
            if line.trim_end_matches(['\n', '\r']) == "\\." {
                if let Some(statement) = self.found.statements.last_mut() {
                    statement.rows = Some(&self.sql[start..self.at]);
                }
                self.found.tokens.push(Token {
                    kind: Kind::Rows,
                    range: start..self.at,
                });
                self.at += line.len();
                return;
            }
            self.at += line.len();
        }
        self.no_rows();
    }

    fn no_rows(&mut self) {
        self.expects_rows = false;
        let start = self.found.statements.last().map(|copy| copy.start);
        self.problem(start.unwrap_or_default(), Problem::NoRows);
    }
}

/// Length of a literal that begins with `quote`, if it ends; a doubled quote stays inside, and so does one behind a backslash where
/// `escapes` says so.
fn quoted(rest: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let mut at = 1;
    loop {
        let byte = *rest.get(at)?;
        if byte == b'\\' && escapes {
            at += 2;
        } else if byte != quote {
            at += 1;
        } else if rest.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return Some(at + 1);
        }
    }
}

/// Where the string that ended at `at` goes on: a quote after white space, and comments to a line's end, with a newline among it.
fn continuation(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut newline = false;
    loop {
        match bytes.get(at..)? {
            [b'\'', ..] => return newline.then_some(at),
            [b'-', b'-', rest @ ..] => {
                at += 2 + length(rest, |byte| byte != b'\n' && byte != b'\r');
            }
            [space, ..] if is_space(*space) => {
                newline |= matches!(space, b'\n' | b'\r');
                at += 1;
            }
            _ => return None,
        }
    }
}

fn number(rest: &[u8]) -> usize {
    if let [b'0', base, digit, ..] = rest
        && matches!(base, b'x' | b'X' | b'o' | b'O' | b'b' | b'B')
        && (digit.is_ascii_hexdigit() || *digit == b'_')
    {
        return 2 + length(&rest[2..], |byte| byte.is_ascii_hexdigit() || byte == b'_');
    }
    let digits = |from: usize| length(&rest[from..], |byte| byte.is_ascii_digit() || byte == b'_');
    let mut at = digits(0);
    if rest.get(at) == Some(&b'.') && rest.get(at + 1) != Some(&b'.') {
        at += 1 + digits(at + 1);
    }
    if matches!(rest.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(at + 1), Some(b'+' | b'-')));
        if rest.get(at + 1 + sign).is_some_and(u8::is_ascii_digit) {
            at += 1 + sign + digits(at + 1 + sign);
        }
    }
    at
}

/// What `standard_conforming_strings` is after the statement, if it says so: true where backslashes escape.
fn sets_escapes(statement: &Statement<'_>) -> Option<bool> {
    const SETTING: &str = "standard_conforming_strings";
    match statement.words.first()?.as_str() {
        "RESET" | "DISCARD" if statement.words.get(1).is_some_and(|word| word == "ALL") => {
            return Some(false);
        }
        "SET" | "RESET" if contains(statement.text, SETTING) => {}
        "SELECT" if contains(statement.text, SETTING) && contains(statement.text, "set_config") => {
        }
        _ => return None,
    }
    let mut scanner = Scanner::new(statement.text);
    while scanner.step() {}
    let texts = scanner
        .found
        .tokens
        .iter()
        .filter(|token| token.kind != Kind::Comment)
        .map(|token| statement.text[token.range.clone()].trim_matches(['\'', '"']));
    let mut after = texts.skip_while(|text| !text.eq_ignore_ascii_case(SETTING));
    // `= off`, `TO off` and `, 'off'` alike; nothing after RESET.
    let value = after.nth(2).unwrap_or_default().to_ascii_lowercase();
    Some(matches!(
        value.as_str(),
        "off" | "of" | "false" | "fals" | "fal" | "fa" | "f" | "no" | "n" | "0"
    ))
}

/// Whether `text` holds `word`, in whatever case.
pub(crate) fn contains(text: &str, word: &str) -> bool {
    text.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// A statement whose end has not been seen.
struct Open {
    start: usize,
    end: usize,
    line: usize,
    words: Vec<String>,
    /// Parentheses; the actions of a rule stand in them, with semicolons between.
    depth: usize,
    /// Whether this is inside a routine whose body is SQL itself: `BEGIN ATOMIC … END`.
    atomic: bool,
    /// Whether the last token was one after which that END may come.
    between: bool,
    copies: Option<Copies>,
}

/// Where a COPY's rows come from or go to, if that is the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    In,
    Out,
}

impl Open {
    fn at(start: usize, line: usize) -> Self {
        Self {
            start,
            end: start,
            line,
            words: Vec::new(),
            depth: 0,
            atomic: false,
            between: false,
            copies: None,
        }
    }

    fn may_end(&self) -> bool {
        self.depth == 0 && !self.atomic
    }

    fn push(&mut self, kind: Kind, text: &str, end: usize) {
        self.end = end;
        let between = std::mem::replace(&mut self.between, text == ";");
        match (kind, text) {
            (Kind::Symbol, "(") => self.depth += 1,
            (Kind::Symbol, ")") => self.depth = self.depth.saturating_sub(1),
            (Kind::Word, _) => self.push_word(text.to_ascii_uppercase(), between),
            _ => {}
        }
    }

    fn push_word(&mut self, word: String, between: bool) {
        let last = self.words.last().map_or("", String::as_str);
        match word.as_str() {
            "ATOMIC" if last == "BEGIN" && self.depth == 0 && self.makes_routine() => {
                (self.atomic, self.between) = (true, true);
            }
            // A CASE's END never stands after a semicolon.
            "END" if between => self.atomic = false,
            "STDIN" | "STDOUT" if self.depth == 0 && self.is_copy() => {
                self.copies = match last {
                    "FROM" => Some(Copies::In),
                    "TO" => Some(Copies::Out),
                    _ => self.copies,
                };
            }
            _ => {}
        }
        self.words.push(word);
    }

    fn is_copy(&self) -> bool {
        self.words.first().is_some_and(|first| first == "COPY")
    }

    fn makes_routine(&self) -> bool {
        let mut words = self.words.iter().map(String::as_str);
        words.next() == Some("CREATE")
            && words
                .find(|word| !matches!(*word, "OR" | "REPLACE"))
                .is_some_and(|word| matches!(word, "FUNCTION" | "PROCEDURE"))
    }

    fn close(self, sql: &str) -> Statement<'_> {
        Statement {
            start: self.start,
            line: self.line,
            text: &sql[self.start..self.end],
            words: self.words,
            rows: (self.copies == Some(Copies::In)).then_some(""),
            copies_out: self.copies == Some(Copies::Out),
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

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|have| have == word)
    }

    fn first(&self, words: &[&str]) -> bool {
        self.words
            .first()
            .is_some_and(|first| words.contains(&first.as_str()))
    }

    fn second(&self, words: &[&str]) -> bool {
        self.words
            .get(1)
            .is_some_and(|second| words.contains(&second.as_str()))
    }

    /// What the statement does to the transaction around it; a savepoint does nothing to it, and neither does going back to one.
    pub(crate) fn control(&self) -> Option<Control> {
        let prepared = self.second(&["PREPARED"]);
        match self.words.first()?.as_str() {
            "BEGIN" => Some(Control::Begin),
            "START" if self.second(&["TRANSACTION"]) => Some(Control::Begin),
            "COMMIT" | "ROLLBACK" if prepared => Some(Control::TwoPhase),
            "PREPARE" if self.second(&["TRANSACTION"]) => Some(Control::TwoPhase),
            "COMMIT" | "END" => Some(Control::Commit),
            "ROLLBACK" if self.has("TO") => None,
            "ROLLBACK" | "ABORT" => Some(Control::Rollback),
            _ => None,
        }
    }

    /// `BEGIN`, `COMMIT` and their like, which would end or nest the engine's own transaction.
    pub(crate) fn controls_transaction(&self) -> bool {
        self.control().is_some()
    }

    /// Whether PostgreSQL refuses the statement inside a transaction block (SQLSTATE 25001).
    ///
    /// That of a CALL or DO cannot be seen: whether it commits is in its body.
    pub(crate) fn refuses_transaction(&self) -> bool {
        self.begins(&["VACUUM"])
            || self.begins(&["ALTER", "SYSTEM"])
            || self.begins(&["DISCARD", "ALL"])
            || self.begins(&["ALTER", "DATABASE"]) && self.has("TABLESPACE")
            || self.clusters_all()
            || self.first(&["CREATE", "DROP"])
                && self.second(&["DATABASE", "TABLESPACE", "SUBSCRIPTION"])
            || self.begins(&["ALTER", "SUBSCRIPTION"]) && self.has("PUBLICATION")
            || self.reindexes_many()
            || self.first(&["CREATE", "DROP", "REINDEX", "ALTER"]) && self.has("CONCURRENTLY")
    }

    /// REINDEX of more than one table.
    fn reindexes_many(&self) -> bool {
        let one = ["INDEX", "TABLE"];
        let many = ["SCHEMA", "DATABASE", "SYSTEM"];
        let mut words = self.words.iter().map(String::as_str);
        words.next() == Some("REINDEX")
            && words
                .find(|word| one.contains(word) || many.contains(word))
                .is_some_and(|what| many.contains(&what))
    }

    /// CLUSTER of every table that was clustered before.
    fn clusters_all(&self) -> bool {
        self.first(&["CLUSTER"])
            && self.words[1..].iter().all(|word| word == "VERBOSE")
            && !self.text.contains('"')
    }

    /// COMMIT and ROLLBACK that begin the next transaction at once.
    pub(crate) fn chains(&self) -> bool {
        self.has("CHAIN") && !self.has("NO")
    }

    /// Whether it does something that ends, or happens, with its transaction: a local setting, what a temporary table does on commit.
    pub(crate) fn is_bound_to_its_transaction(&self) -> bool {
        self.begins(&["SET", "LOCAL"])
            || self.has("SET_CONFIG")
            || self.words.windows(2).any(|pair| pair == ["ON", "COMMIT"])
    }

    /// Whether it may change a setting, a role or another thing of the session that outlives it. A function that a DML statement, a
    /// trigger of one or a condition in a DO block calls may do so unseen.
    pub(crate) fn may_change_session(&self) -> bool {
        let always = [
            "SET", "RESET", "DISCARD", "CALL", "SELECT", "WITH", "EXECUTE", "LOAD",
        ];
        self.first(&always)
            || self.first(&["DO"]) && BLOCK_CHANGES.iter().any(|word| contains(self.text, word))
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
/// What a DO block holds that sets something, or calls something that may; a block that only grants holds none.
const BLOCK_CHANGES: [&str; 7] = ["set", "discard", "perform", "execute", "call", ":=", "into"];

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
