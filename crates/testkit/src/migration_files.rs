//! Catalogues of migrations that a test writes itself.

use migrations::Catalogue;

/// Returns the migrations of `(file name, text)` pairs, without profiles and shapes.
pub fn files(files: &[(&str, &str)]) -> Catalogue {
    Catalogue::from_files("test", files.iter().copied(), "").expect("pairs of migrations")
}

/// Returns a team's files in goose's format.
pub fn goose(files: &[(&str, &str)]) -> Catalogue {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    Catalogue::from_goose_files("team", files.iter().map(owned)).expect("goose migrations")
}
