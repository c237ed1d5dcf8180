//! An image of one static binary without a base, as the archive that `docker load` reads, made in memory and named by its content.

use std::io;

use serde_json::json;

use crate::fingerprint::hex;

/// An image archive in the form that `docker save` writes, made in memory.
#[derive(Debug)]
pub struct Image {
    /// Name with a tag that changes with the content, so that an old image can never be taken for it.
    pub reference: String,
    /// The archive.
    pub archive: Vec<u8>,
}

/// Wraps a static binary as an image. The same binary gives the same bytes.
pub fn of_binary(name: &str, binary: &[u8]) -> io::Result<Image> {
    let layer = tar(&[(&format!("usr/bin/{name}"), binary, 0o755)])?;
    let diff_id = format!("sha256:{}", hex(&layer));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [format!("/usr/bin/{name}")], "User": "65532:65532", "Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
    .to_string();
    let digest = hex(config.as_bytes());
    let reference = format!("localhost/kubernaut-{name}:{}", &digest[..12]);
    let config_name = format!("{digest}.json");
    let manifest =
        json!([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}])
            .to_string();
    let archive = tar(&[
        (&config_name, config.as_bytes(), 0o644),
        ("layer.tar", &layer, 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])?;
    Ok(Image { reference, archive })
}

/// With owner root and time zero: only content may change a digest.
fn tar(files: &[(&str, &[u8], u32)]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        builder.append_data(&mut header, path, *bytes)?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_binary_has_the_same_name_and_another_has_not() {
        let one = of_binary("datastorage", b"\x7fELF one").unwrap();
        assert_eq!(
            one.reference,
            of_binary("datastorage", b"\x7fELF one").unwrap().reference
        );
        assert_ne!(
            one.reference,
            of_binary("datastorage", b"\x7fELF two").unwrap().reference
        );
    }
}
