//! SHA-256 of the archives, one per version and platform.
//!
//! They are the jars `embedded-postgres-binaries-<platform>-<version>.jar` of the group `io.zonky.test.postgres`. To add a
//! version: `sha256sum` of each jar, compared with the `.sha256` that is published beside it where there is one.

use anyhow::{Context, bail};
use embedded_postgres::PINNED_VERSIONS;

/// (version, platform, SHA-256 in hexadecimal)
const PINS: [(&str, &str, &str); 12] = [
    (
        "16.15.0",
        "linux-amd64",
        "653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2",
    ),
    (
        "16.15.0",
        "linux-arm64v8",
        "f846a9989d686b7977d6eca9bc9d8b2b69e3f70c7eb60e032197d9c574a6136c",
    ),
    (
        "16.15.0",
        "darwin-arm64v8",
        "65b953905f0a4d46030767a6b44a52360170d69a7985f1b02aa435f2f6256a83",
    ),
    (
        "16.15.0",
        "darwin-amd64",
        "1229188b99515d2160d5cb6222bc96d9c5f3a248268df3bc2dfe0047e6c233d8",
    ),
    (
        "17.11.0",
        "linux-amd64",
        "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d",
    ),
    (
        "17.11.0",
        "linux-arm64v8",
        "8b042e0ea418b1927d95399207950da0734d27fe01e29503ade3bdc464ad4c2b",
    ),
    (
        "17.11.0",
        "darwin-arm64v8",
        "a1c2786acb0c398f9b2d76806fc52f5dc8b222cbc8e9383a9b9702084daaf3a5",
    ),
    (
        "17.11.0",
        "darwin-amd64",
        "d464ff178e9860ba204662ac23fa547504b7fd392392ff2fb92e3fd73b5bdb64",
    ),
    (
        "18.6.0",
        "linux-amd64",
        "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1",
    ),
    (
        "18.6.0",
        "linux-arm64v8",
        "5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be",
    ),
    (
        "18.6.0",
        "darwin-arm64v8",
        "8f6ed6f38195b50a40712ada8b2a12060b6193c1a6977a6eb5cff053bb5a1b89",
    ),
    (
        "18.6.0",
        "darwin-amd64",
        "690941008aac9ee360820fde9bb7870a4f3dcac5e9e2f9e45e42333a436ad0f9",
    ),
];

/// Returns the checksum of the archive of `version` for this machine.
pub(crate) fn checksum(version: &str) -> anyhow::Result<&'static str> {
    let platform = platform()?;
    let pin = PINS
        .iter()
        .find(|(pinned, of, _)| (*pinned, *of) == (version, platform));
    let (.., checksum) = pin.with_context(|| {
        format!(
            "PostgreSQL {version} has no pinned checksum for {platform}; pinned are {}",
            PINNED_VERSIONS.join(", ")
        )
    })?;
    Ok(checksum)
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

    use super::{PINS, checksum};

    #[test]
    fn every_version_on_offer_has_a_pin_on_every_platform() {
        for version in PINNED_VERSIONS {
            assert_eq!(
                PINS.iter()
                    .filter(|(pinned, ..)| *pinned == version)
                    .count(),
                4,
                "{version}"
            );
        }
        assert!(
            PINS.iter()
                .all(|(.., pin)| pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }

    #[test]
    fn a_version_without_a_pin_is_refused_with_those_that_have_one() {
        let refused = checksum("9.6.0").unwrap_err().to_string();
        assert!(
            refused.contains("9.6.0") && refused.contains("16.15.0, 17.11.0, 18.6.0"),
            "{refused}"
        );
    }
}
