//! Names that were mistyped.

/// The name that was probably meant, if one is near enough.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // clap's own threshold for its suggestions.
    const ENOUGH: f64 = 0.7;
    known
        .iter()
        .map(|near| (strsim::jaro_winkler(name, near), *near))
        .filter(|(likeness, _)| *likeness > ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near)
}
