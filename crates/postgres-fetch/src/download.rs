//! The download: one request, bounded in bytes and in time, which says how far it is.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use maven_toolbox::{ArtifactFqn, Resolver};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::names;
use crate::pins::Pin;

/// The group of the artifacts.
const GROUP: &str = "io.zonky.test.postgres";
/// 15 MB (62 MB for macOS): slower than this, the network is the thing to look at.
const DEADLINE: Duration = Duration::from_mins(5);
/// More than this is something else than an archive of PostgreSQL.
const LARGEST: u64 = 128 << 20;
/// How long the download goes on without a line.
const SILENCE: Duration = Duration::from_secs(5);

/// Fetches the archive of `version` that a pin was made from, unchecked, from a repository or else from Maven Central.
pub(crate) fn download(
    repository: Option<&str>,
    version: &str,
    pin: &Pin,
    say: impl Fn(&str),
) -> anyhow::Result<Vec<u8>> {
    let url = address(repository, version, pin)?;
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .tls_config(TlsConfig::builder().root_certs(authorities()).build())
        .build();
    let agent = host_names::agent(config, names::of_machine());
    let response = agent.get(&url).call().context(url)?;
    let mut body = response.into_body();
    let length = body.content_length();
    let mut body = body.as_reader().take(LARGEST);
    let (mut archive, mut told) = (Vec::new(), Instant::now());
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = body.read(&mut chunk).with_context(|| {
            let bytes = archive.len();
            format!("the download stopped after {bytes} bytes")
        })?;
        if read == 0 {
            break;
        }
        archive.extend_from_slice(&chunk[..read]);
        if told.elapsed() >= SILENCE {
            told = Instant::now();
            say(&progress(archive.len(), length));
        }
    }
    ensure!(
        (archive.len() as u64) < LARGEST,
        "it is larger than {} MB, which no archive of PostgreSQL is",
        LARGEST >> 20
    );
    Ok(archive)
}

/// Where the archive lies, by the library that knows Maven's repositories.
fn address(repository: Option<&str>, version: &str, pin: &Pin) -> anyhow::Result<String> {
    let mut resolver = Resolver::default();
    if let Some(repository) = repository {
        repository
            .trim_end_matches('/')
            .clone_into(&mut resolver.repository.base_url);
    }
    let artifact = format!("embedded-postgres-binaries-{}", pin.platform);
    let archive = ArtifactFqn::pom(GROUP, &artifact, version).with_packaging("jar");
    let address = resolver.create_url(&archive);
    address.map_err(|error| anyhow!("{artifact} {version} has no address: {}", error.msg))
}

fn progress(bytes: usize, length: Option<u64>) -> String {
    let of = length.map_or(String::new(), |length| {
        format!(" of {}", length / 1_000_000)
    });
    format!("{}{of} MB", bytes / 1_000_000)
}

/// The certificate authorities of this machine, which a proxy of its network may be one of; where it has none, Mozilla's.
fn authorities() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return RootCerts::WebPki;
    }
    RootCerts::new_with_certs(
        &found
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::pins;

    /// A repository that gives one answer; returns its address, and what it was asked for.
    fn repository(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("it")).lines();
            let first = lines.next().expect("a line").expect("a request");
            // Answered once it has been read: a connection that is closed before would be reset.
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            stream.write_all(answer.as_bytes()).expect("an answer");
            first
        });
        (format!("http://{address}/mirror/"), asked)
    }

    #[test]
    fn a_mirror_is_asked_for_the_archive_of_this_machine() {
        let (url, asked) = repository("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\njar");
        let pin = pins::pin("16.15.0").expect("a pin");
        let archive = download(Some(&url), "16.15.0", pin, |_| ()).expect("a download");
        assert_eq!(archive, b"jar");
        let (asked, platform) = (asked.join().expect("it ends"), pin.platform);
        let artifact = format!("embedded-postgres-binaries-{platform}");
        let path =
            format!("/mirror/io/zonky/test/postgres/{artifact}/16.15.0/{artifact}-16.15.0.jar");
        assert_eq!(asked, format!("GET {path} HTTP/1.1"));
    }

    #[test]
    fn without_a_mirror_it_is_in_maven_central() {
        let pin = pins::pin("16.15.0").expect("a pin");
        let address = address(None, "16.15.0", pin).expect("an address");
        let base = Resolver::default().repository.base_url;
        assert!(
            base.starts_with("https://") && base.contains("maven"),
            "{base}"
        );
        assert!(address.starts_with(&format!("{base}/io/zonky/test/postgres/")));
    }

    #[test]
    fn a_refusal_and_a_download_that_stops_name_the_address_and_how_far_it_came() {
        let pin = pins::pin("16.15.0").expect("a pin");
        let failed = |answer| {
            let (url, _) = repository(answer);
            let error = download(Some(&url), "16.15.0", pin, |_| ()).expect_err("no archive");
            format!("{error:#}")
        };
        let refused = failed("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert!(
            refused.starts_with("http://127.0.0.1:") && refused.contains("404"),
            "{refused}"
        );
        let stopped = failed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\njar");
        assert!(stopped.contains("stopped after 3 bytes"), "{stopped}");
    }

    #[test]
    fn how_far_it_is_is_told_in_megabytes() {
        assert_eq!(progress(5_300_000, Some(14_737_226)), "5 of 14 MB");
        assert_eq!(progress(5_300_000, None), "5 MB");
    }
}
