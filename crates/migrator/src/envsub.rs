//! Environment variables in goose's files, substituted as goose does it (`-- +goose ENVSUB ON`).
//!
//! `$NAME` and `${NAME}`, `${NAME:-default}` (unset or empty), `${NAME-default}` (unset), `${NAME?message}` (must be set) and
//! `${NAME:offset}`, `${NAME:offset:length}`, in bytes; defaults and messages hold expansions themselves. `$$` and `\$` are a dollar,
//! `$(` and a dollar at the end of a line are text. Rules: <https://pressly.github.io/goose/documentation/environment-variables/>.

/// What gives a variable's value, if it is set.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// `line` with its expansions in place; a variable that is not set and has no default becomes nothing, and its name is added to `unset`.
///
/// # Errors
/// What is wrong with an expansion.
pub(crate) fn expand(
    line: &str,
    lookup: &Lookup<'_>,
    unset: &mut Vec<String>,
) -> Result<String, String> {
    let mut parser = Parser {
        rest: line,
        lookup,
        unset,
        used: true,
    };
    parser.text(None)
}

struct Parser<'a, 'b> {
    rest: &'a str,
    lookup: &'b Lookup<'b>,
    unset: &'b mut Vec<String>,
    /// Whether what is read becomes part of the line: a default that is not needed does not.
    used: bool,
}

impl<'a> Parser<'a, '_> {
    /// Takes `prefix` if it is next.
    fn take(&mut self, prefix: &str) -> bool {
        self.rest
            .strip_prefix(prefix)
            .map(|rest| self.rest = rest)
            .is_some()
    }

    /// Takes what comes before the first character for which `ends` holds.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self
            .rest
            .split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Text with expansions, up to `stop` or the end.
    fn text(&mut self, stop: Option<char>) -> Result<String, String> {
        let mut text = String::new();
        while let Some(next) = self.rest.chars().next().filter(|next| Some(*next) != stop) {
            if self.take(r"\\") {
                text.push_str(r"\\");
            } else if self.take(r"\$") || self.take("$$") {
                text.push('$');
            } else if self.take("$(") {
                text.push_str("$(");
            } else if next == '$' && self.rest.len() > 1 {
                self.take("$");
                text.push_str(&self.expansion()?);
            } else {
                text.push(next);
                self.rest = &self.rest[next.len_utf8()..];
                text.push_str(self.until(|c| c == '$' || c == '\\' || Some(c) == stop));
            }
        }
        Ok(text)
    }

    /// What stands behind a dollar.
    fn expansion(&mut self) -> Result<String, String> {
        let braces = self.take("{");
        let name = self.name()?;
        let value = (self.lookup)(name);
        if !braces || self.take("}") {
            return Ok(self.value(name, value));
        }
        let expanded = if self.take(":-") {
            let value = value.filter(|value| !value.is_empty());
            let default = self.within_braces(value.is_none())?;
            value.unwrap_or(default)
        } else if self.take("-") {
            let default = self.within_braces(value.is_none())?;
            value.unwrap_or(default)
        } else if self.take("?") {
            let message = self.within_braces(value.is_none())?;
            if value.is_none() && self.used {
                let message = if message.is_empty() {
                    "it must be set"
                } else {
                    &message
                };
                return Err(format!(
                    "the environment variable {name} is not set: {message}"
                ));
            }
            value.unwrap_or_default()
        } else if self.take(":") {
            let offset = self.number(name)?;
            let length = self.take(":").then(|| self.number(name)).transpose()?;
            let whole = self.value(name, value);
            substring(&whole, offset, length)
                .ok_or_else(|| format!("${{{name}:…}} cuts a character of its value in two"))?
                .to_owned()
        } else {
            return Err(format!(
                "${{{name} is followed by none of `}}`, `:-`, `-`, `?` and `:`"
            ));
        };
        if self.take("}") {
            Ok(expanded)
        } else {
            Err(format!("${{{name} has no closing brace on its line"))
        }
    }

    fn within_braces(&mut self, needed: bool) -> Result<String, String> {
        let used = self.used;
        self.used &= needed;
        let text = self.text(Some('}'));
        self.used = used;
        text
    }

    fn value(&mut self, name: &str, value: Option<String>) -> String {
        value.unwrap_or_else(|| {
            if self.used {
                self.unset.push(name.to_owned());
            }
            String::new()
        })
    }

    fn name(&mut self) -> Result<&'a str, String> {
        if !self.rest.starts_with(char::is_alphabetic) {
            return Err("a dollar begins no variable here; write `$$` for a dollar".to_owned());
        }
        Ok(self.until(|c| !(c.is_alphabetic() || c.is_numeric() || c == '_')))
    }

    fn number(&mut self, name: &str) -> Result<i64, String> {
        let digits = self.until(|c| c == ':' || c == '}').trim();
        digits.parse().map_err(|_| {
            format!("`{digits}` in ${{{name}:{digits}}} is no number; a required variable is ${{{name}?message}}")
        })
    }
}

/// `length` bytes from `offset`, both counted from the end where they are negative; `None` where that cuts a character.
fn substring(value: &str, offset: i64, length: Option<i64>) -> Option<&str> {
    let end = i64::try_from(value.len()).ok()?;
    let from_end = |position: i64| {
        if position < 0 {
            position + end
        } else {
            position
        }
    };
    let from = from_end(offset).clamp(0, end);
    let to = match length {
        None => end,
        Some(length) if length < 0 => (length + end).max(from),
        Some(length) => from.saturating_add(length).min(end),
    };
    value.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "NAME" => Some("app".to_owned()),
            "EMPTY" => Some(String::new()),
            "WORD" => Some("abcdef".to_owned()),
            _ => None,
        }
    }

    /// The right values are those of goose 3.24.
    #[test]
    fn every_form_gives_what_goose_gives() {
        for (line, expanded) in [
            ("$NAME.t ${NAME}_t", "app.t app_t"),
            ("${NAME:-x} ${EMPTY:-x} ${UNSET:-x}", "app x x"),
            ("${NAME-x} ${EMPTY-x} ${UNSET-x}", "app  x"),
            ("${UNSET:-${NAME}-$UNSET.}", "app-."),
            ("${UNSET}|$UNSET|", "||"),
            ("${NAME?gone}", "app"),
            ("${NAME:-${UNSET?only if NAME is not set}}", "app"),
            (
                "${WORD:2} ${WORD: -2} ${WORD:1:2} ${WORD:1:-1} ${WORD:9}",
                "cdef ef bc bcde ",
            ),
            (r"$$ \$NAME \\ $(x) $", r"$ $NAME \\ $(x) $"),
            ("'it''s' no dollar {here}", "'it''s' no dollar {here}"),
        ] {
            assert_eq!(
                expand(line, &lookup, &mut Vec::new()).as_deref(),
                Ok(expanded),
                "{line}"
            );
        }
    }

    #[test]
    fn an_expansion_that_says_nothing_is_an_error() {
        for (line, says) in [
            ("SELECT $1", "write `$$`"),
            ("${NAME", "followed by none"),
            ("${NAME:-x", "no closing brace"),
            (
                "${UNSET?ask the operator}",
                "UNSET is not set: ask the operator",
            ),
            ("${NAME:?message}", "${NAME?message}"),
        ] {
            let error = expand(line, &lookup, &mut Vec::new()).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let mut unset = Vec::new();
        expand("${UNSET} ${OTHER:-x} ${EMPTY}", &lookup, &mut unset).unwrap();
        assert_eq!(unset, ["UNSET"]);
    }
}
