//! Texts of reports: escaped for HTML and XML, without colours, durations as people read them.

use std::fmt::Write as _;

/// A duration as people read it: tenths of a second below two minutes, then minutes.
pub fn duration(seconds: f64) -> String {
    if seconds < 119.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the seconds of a run, positive and far below 2^63"
    )]
    let whole = seconds.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

/// Text for XML 1.0 and HTML: markup escaped, and control characters, which XML forbids (section 2.2), shown as U+FFFD.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Text without the sequences by which programs colour it (ECMA-48, CSI).
pub fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| ('\u{40}'..='\u{7e}').contains(&c))
            .map_or(part.len(), |at| at + 1);
        write!(out, "{}", &part[end..]).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(
            escaped("a<b>&\"'\u{1}\n"),
            "a&lt;b&gt;&amp;&quot;&#39;\u{fffd}\n"
        );
        assert_eq!(plain("\u{1b}[1m\u{1b}[32mok\u{1b}[0m!"), "ok!");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [0.04, 14.26, 119.9, 273.3].map(duration),
            ["0.0 s", "14.3 s", "119.9 s", "4 min 33 s"]
        );
    }
}
