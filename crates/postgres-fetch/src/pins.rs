//! SHA-256 of the archives, one per version and platform.
//!
//! They are the jars `embedded-postgres-binaries-<platform>-<version>.jar` of the group `io.zonky.test.postgres`. To add a
//! version: `sha256sum` of each jar, compared with the `.sha256` that is published beside it where there is one.

use anyhow::{Context as _, bail, ensure};
use embedded_postgres::PINNED_VERSIONS;
use sha2::{Digest as _, Sha256};

/// What an archive is known by.
#[derive(Debug)]
pub(crate) struct Pin {
    version: &'static str,
    /// The platform in the archive's name.
    pub(crate) platform: &'static str,
    /// SHA-256 in hexadecimal.
    checksum: &'static str,
}

const fn pin_of(version: &'static str, platform: &'static str, checksum: &'static str) -> Pin {
    Pin {
        version,
        platform,
        checksum,
    }
}

const PINS: [Pin; 12] = [
    pin_of(
        "16.15.0",
        "linux-amd64",
        "653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2",
    ),
    pin_of(
        "16.15.0",
        "linux-arm64v8",
        "f846a9989d686b7977d6eca9bc9d8b2b69e3f70c7eb60e032197d9c574a6136c",
    ),
    pin_of(
        "16.15.0",
        "darwin-arm64v8",
        "65b953905f0a4d46030767a6b44a52360170d69a7985f1b02aa435f2f6256a83",
    ),
    pin_of(
        "16.15.0",
        "darwin-amd64",
        "1229188b99515d2160d5cb6222bc96d9c5f3a248268df3bc2dfe0047e6c233d8",
    ),
    pin_of(
        "17.11.0",
        "linux-amd64",
        "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d",
    ),
    pin_of(
        "17.11.0",
        "linux-arm64v8",
        "8b042e0ea418b1927d95399207950da0734d27fe01e29503ade3bdc464ad4c2b",
    ),
    pin_of(
        "17.11.0",
        "darwin-arm64v8",
        "a1c2786acb0c398f9b2d76806fc52f5dc8b222cbc8e9383a9b9702084daaf3a5",
    ),
    pin_of(
        "17.11.0",
        "darwin-amd64",
        "d464ff178e9860ba204662ac23fa547504b7fd392392ff2fb92e3fd73b5bdb64",
    ),
    pin_of(
        "18.6.0",
        "linux-amd64",
        "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1",
    ),
    pin_of(
        "18.6.0",
        "linux-arm64v8",
        "5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be",
    ),
    pin_of(
        "18.6.0",
        "darwin-arm64v8",
        "8f6ed6f38195b50a40712ada8b2a12060b6193c1a6977a6eb5cff053bb5a1b89",
    ),
    pin_of(
        "18.6.0",
        "darwin-amd64",
        "690941008aac9ee360820fde9bb7870a4f3dcac5e9e2f9e45e42333a436ad0f9",
    ),
];

/// Returns the pin of `version` for this machine.
pub(crate) fn pin(version: &str) -> anyhow::Result<&'static Pin> {
    let platform = platform()?;
    let pin = PINS
        .iter()
        .find(|pin| (pin.version, pin.platform) == (version, platform));
    pin.with_context(|| {
        format!(
            "PostgreSQL {version} has no pinned checksum for {platform}; pinned are {}",
            PINNED_VERSIONS.join(", ")
        )
    })
}

/// Refuses bytes that are not the ones that the pin was made from.
pub(crate) fn check(archive: &[u8], pin: &Pin) -> anyhow::Result<()> {
    let digest = Sha256::digest(archive);
    let found = digest
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    ensure!(
        found == pin.checksum,
        "its SHA-256 is {found}, not the pinned {}; do not use it, and find out what serves it",
        pin.checksum
    );
    Ok(())
}

/// Returns the archive's name for this machine.
fn platform() -> anyhow::Result<&'static str> {
    Ok(match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-amd64",
        ("linux", "aarch64") => "linux-arm64v8",
        ("macos", "aarch64") => "darwin-arm64v8",
        ("macos", "x86_64") => "darwin-amd64",
        (system, processor) => bail!(
            "there are no pinned binaries for {system} on {processor}; install PostgreSQL 15 or newer and set {} to its bin directory",
            e2e_env::POSTGRES_BIN
        ),
    })
}

#[cfg(test)]
mod tests {
    use embedded_postgres::PINNED_VERSIONS;

    use super::{PINS, check, pin, pin_of};

    #[test]
    fn every_version_on_offer_has_a_pin_on_every_platform() {
        for version in PINNED_VERSIONS {
            assert_eq!(
                PINS.iter().filter(|pin| pin.version == version).count(),
                4,
                "{version}"
            );
        }
        assert!(
            PINS.iter()
                .map(|pin| pin.checksum)
                .all(|pin| pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }

    #[test]
    fn a_version_without_a_pin_is_refused_with_those_that_have_one() {
        let refused = pin("9.6.0").unwrap_err().to_string();
        assert!(
            refused.contains("9.6.0") && refused.contains("16.15.0, 17.11.0, 18.6.0"),
            "{refused}"
        );
    }

    #[test]
    fn bytes_that_do_not_match_the_pin_are_refused() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let empty = pin_of("0", "none", empty);
        assert!(check(b"", &empty).is_ok());
        let refused = check(b"tampered with", &empty).unwrap_err().to_string();
        assert!(refused.contains("not the pinned e3b0c442"), "{refused}");
    }
}
