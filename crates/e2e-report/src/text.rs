//! Texts of reports: escaped for HTML and XML, without colours, durations as people read them.

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

/// Text in a cell of a Markdown table.
pub fn cell(text: &str) -> String {
    escaped(text).replace('|', "\\|").replace('\n', " ")
}

/// Text as a person reads it: without the sequences by which programs colour it and name windows (ECMA-48), without other control
/// characters, and of a line that a carriage return has written over several times, the last version.
pub fn plain(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    let lines = stripped.split('\n').map(|line| {
        let mut versions = line.rsplit('\r');
        versions
            .find(|version| !version.is_empty())
            .unwrap_or_default()
    });
    let mut plain = lines.collect::<Vec<_>>().join("\n");
    plain.retain(|c| c == '\n' || c == '\t' || !c.is_control());
    plain
}

/// How many stack frames one after the other are shown.
const FRAMES: usize = 3;

/// The beginning and the end of a text, within `lines` lines: the message of a failure stands at one of them. Of a stack trace the
/// first frames are left.
pub fn both_ends(text: &str, lines: usize) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut frames = 0;
    for line in text.trim_end().lines() {
        if is_frame(line) {
            frames += 1;
            if frames > 2 * FRAMES {
                continue;
            }
        } else if frames > 0 {
            if frames > 2 * FRAMES {
                kept.push(format!(
                    "      [{} more lines of frames]",
                    frames - 2 * FRAMES
                ));
            }
            frames = 0;
        }
        kept.push(line.to_owned());
    }
    if kept.len() > lines {
        let (head, tail) = (lines / 2, lines - lines / 2);
        let left_out = kept.len() - lines;
        let rest = kept.split_off(kept.len() - tail);
        kept.truncate(head);
        kept.push(format!("[{left_out} lines left out]"));
        kept.extend(rest);
    }
    kept.join("\n")
}

/// A line of a stack trace, as Rust's standard library prints it: `   3: function` or `             at file:line`.
fn is_frame(line: &str) -> bool {
    let text = line.trim_start();
    let numbered = text.split_once(": ").is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    });
    line.starts_with("  ") && (numbered || text.starts_with("at "))
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
    fn a_title_and_a_progress_bar_leave_their_last_words() {
        let text = "Downloading 10%\r\u{1b}]0;title\u{7}Downloading 20%\r\nnext";
        assert_eq!(plain(text), "Downloading 20%\nnext");
    }

    #[test]
    fn a_long_failure_keeps_its_message_and_its_end_and_few_frames() {
        let frame = |frame: usize| format!("   {frame}: f\n             at ./a.rs:{frame}\n");
        let frames = (0..30).map(frame).collect::<Vec<_>>().concat();
        let text = format!("panicked: why\nstack backtrace:\n{frames}note: the end\n");
        let kept = both_ends(&text, 30);
        assert!(kept.starts_with("panicked: why\n") && kept.ends_with("note: the end"));
        assert_eq!(kept.lines().count(), 10, "{kept}");
        let lines: Vec<String> = (0..100).map(|line| line.to_string()).collect();
        let lines = lines.join("\n");
        let kept = both_ends(&lines, 10);
        assert!(kept.starts_with("0\n") && kept.ends_with("99"));
        assert!(kept.contains("[90 lines left out]"), "{kept}");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [0.04, 14.26, 119.9, 273.3].map(duration),
            ["0.0 s", "14.3 s", "119.9 s", "4 min 33 s"]
        );
    }
}
