//! What the program does with a registry: pushes images, and says before whether it may.
//!
//! An image gets the tag `e2e-` and the first twelve digits of its digest besides: a registry's clean-up of what has no tag must not
//! take what a run still starts pods from. Who refers to it does so by the digest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::address::Registry;
use crate::archive::{Archive, Blob};
use crate::client::{Client, Options};
use crate::credentials::Found;
use crate::failure::Failure;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The repository that a check writes to where none is named.
pub const CHECKED: &str = "e2e-check";

/// What is to be pushed, as the program reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `HOST[:PORT][/PREFIX]`.
    pub registry: String,
    /// The images, in this order.
    pub images: Vec<Image>,
}

/// An image that is to be pushed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its archive.
    pub archive: PathBuf,
    /// The name that it gets, after the prefix.
    pub repository: String,
}

/// An image that is there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The name that was asked for.
    pub repository: String,
    /// Its whole name, by digest.
    pub reference: String,
    /// How many bytes were sent.
    pub pushed_bytes: u64,
    /// How many layers were sent.
    pub layers_pushed: usize,
    /// How many were there already.
    pub layers_present: usize,
}

/// Pushes images and hands each to `done` once it is there.
pub async fn push(
    registry: &Registry,
    images: &[Image],
    found: Found,
    options: Options,
    mut done: impl FnMut(&Pushed),
) -> Result<(), Failure> {
    let repositories: Result<Vec<_>, _> = images
        .iter()
        .map(|image| registry.repository(&image.repository))
        .collect();
    let repositories = repositories?;
    let Some(first) = repositories.first() else {
        return Ok(());
    };
    // What is broken is told before anything is sent.
    let archives: Result<Vec<_>, _> = images
        .iter()
        .map(|one| Archive::open(&one.archive))
        .collect();
    let client = Client::connect(registry, first, found, options).await?;
    let mut pusher = Pusher {
        client: &client,
        known: BTreeMap::new(),
        sent: 0,
    };
    for ((image, repository), archive) in images.iter().zip(repositories).zip(archives?) {
        client.log_in(&repository).await?;
        let (digest, layers, sent) = pusher.image(&repository, archive).await?;
        done(&Pushed {
            repository: image.repository.clone(),
            reference: format!("{}/{repository}@{digest}", registry.host),
            pushed_bytes: std::mem::take(&mut pusher.sent),
            layers_pushed: sent,
            layers_present: layers - sent,
        });
    }
    Ok(())
}

/// Whether the registry answers and takes what this account sends into a repository: two bytes, the blob that stands for "nothing" in
/// the OCI image specification. No manifest names them there, so that a registry's garbage collection takes them away.
pub async fn check(
    registry: &Registry,
    repository: &str,
    found: Found,
    options: Options,
) -> Result<(), Failure> {
    let repository = registry.repository(repository)?;
    let client = Client::connect(registry, &repository, found, options).await?;
    let nothing = Blob::new(
        "application/vnd.oci.empty.v1+json",
        Bytes::from_static(b"{}"),
    );
    client.push(&repository, &nothing).await
}

/// Pushes one image after the other to one registry.
struct Pusher<'a> {
    client: &'a Client,
    /// In which repository a blob is.
    known: BTreeMap<String, String>,
    /// How many bytes were sent for an image.
    sent: u64,
}

impl Pusher<'_> {
    /// Pushes an image; returns its digest, how many layers it has, and how many of them were sent.
    async fn image(
        &mut self,
        repository: &str,
        mut archive: Archive,
    ) -> Result<(String, usize, usize), Failure> {
        let (mut layers, mut sent) = (Vec::new(), 0);
        for index in 0..archive.layers() {
            let layer = archive.layer(index)?;
            layers.push(descriptor(&layer));
            sent += usize::from(self.blob(repository, &layer).await?);
        }
        self.blob(repository, archive.config()).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(archive.config()),
            "layers": layers,
        });
        let manifest = Blob::new(MANIFEST, manifest.to_string());
        let tag = format!("e2e-{}", &manifest.digest["sha256:".len()..][..12]);
        if self.client.name(repository, &tag, &manifest).await? {
            self.sent += manifest.bytes.len() as u64;
        }
        Ok((manifest.digest, layers.len(), sent))
    }

    /// Brings a blob into a repository; returns whether it was sent.
    async fn blob(&mut self, repository: &str, blob: &Blob) -> Result<bool, Failure> {
        let digest = &blob.digest;
        let known = self.known.get(digest).cloned();
        if known.as_deref() == Some(repository) || self.client.has(repository, digest).await? {
            self.known.insert(digest.clone(), repository.to_owned());
            return Ok(false);
        }
        if let Some(known) = known
            && self.client.mount(repository, &known, digest).await
        {
            return Ok(false);
        }
        self.client.push(repository, blob).await?;
        self.known.insert(digest.clone(), repository.to_owned());
        self.sent += blob.bytes.len() as u64;
        Ok(true)
    }
}

fn descriptor(blob: &Blob) -> Value {
    json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.bytes.len()})
}
