//! A compressed archive whose bytes depend on its files alone: in their order, of one owner, at one time.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

/// An archive of files, each with its name, mode and content, in one directory.
pub(super) fn archive(dir: &str, files: &[(&str, u32, Vec<u8>)], time: u64) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        builder.append_data(&mut header, format!("{dir}/{name}"), &content[..])?;
    }
    compressed(&builder.into_inner()?)
}

/// Compressed, without a name or a time of its own.
pub(super) fn compressed(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_bytes_and_keep_names_modes_and_time() {
        let files = [
            ("xtask", 0o755, b"tool".to_vec()),
            ("LICENSE", 0o644, b"text".to_vec()),
        ];
        let made = archive("bundle", &files, 1_700_000_000).unwrap();
        assert_eq!(made, archive("bundle", &files, 1_700_000_000).unwrap());
        let decoded = flate2::read::GzDecoder::new(&made[..]);
        let mut archive = tar::Archive::new(decoded);
        let told: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (
                    path,
                    header.mode().unwrap(),
                    header.mtime().unwrap(),
                    header.uid().unwrap(),
                )
            })
            .collect();
        let time = 1_700_000_000;
        let wanted = [
            ("bundle/xtask".to_owned(), 0o755, time, 0),
            ("bundle/LICENSE".to_owned(), 0o644, time, 0),
        ];
        assert_eq!(told, wanted);
    }
}
