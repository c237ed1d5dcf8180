//! The program as the tool runs it, with a home of its own, and archives for it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the program left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ok: bool,
    /// Its answers, a line each.
    pub(crate) answers: Vec<Value>,
    /// Its failure.
    pub(crate) failure: Value,
    /// All that it printed.
    pub(crate) said: String,
}

impl Ended {
    /// Fails unless it failed so, and returns its cause and its next move.
    #[track_caller]
    pub(crate) fn failed(&self, kind: &str) -> (String, String) {
        assert!(!self.ok && self.failure["kind"] == kind, "{self:?}");
        let text = |field: &str| self.failure[field].as_str().expect("a text").to_owned();
        (text("what"), text("hint"))
    }

    /// Fails unless it pushed images, and returns of each the bytes, the layers sent and the layers that were there.
    #[track_caller]
    pub(crate) fn pushed(&self) -> Vec<(u64, u64, u64)> {
        assert!(self.ok, "{self:?}");
        let number = |answer: &Value, field: &str| answer[field].as_u64().expect("a number");
        let told = self.answers.iter().map(|answer| {
            let bytes = number(answer, "pushed_bytes");
            (
                bytes,
                number(answer, "layers_pushed"),
                number(answer, "layers_present"),
            )
        });
        told.collect()
    }
}

/// Somebody who pushes: a home directory with files of credentials.
pub(crate) struct Home(pub(crate) tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Writes a file below the home.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.path().join(path);
        let dir = file.parent().expect("a directory");
        fs::create_dir_all(dir).expect("a directory");
        fs::write(&file, content).expect("a file");
        file
    }

    /// Logs in, as docker does.
    pub(crate) fn log_in(&self, host: &str, (name, password): (&str, &str)) {
        let auth = STANDARD.encode(format!("{name}:{password}"));
        let content = json!({"auths": {host: {"auth": auth}}});
        self.file(".docker/config.json", content.to_string());
    }

    /// An archive of layers that hold a file with this content each, as `docker save` writes it.
    pub(crate) fn archive(&self, name: &str, layers: &[&[u8]]) -> PathBuf {
        let layers = layers.iter().map(|content| tar(&[("usr/bin/x", content)]));
        let layers: Vec<_> = layers.collect();
        let sums = layers.iter().map(|layer| sum(layer));
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"User": name},
            "rootfs": {"type": "layers", "diff_ids": sums.collect::<Vec<_>>()},
        });
        let config = config.to_string();
        let names: Vec<_> = (0..layers.len())
            .map(|n| format!("{n}/layer.tar"))
            .collect();
        let manifest = json!([{"Config": "c.json", "RepoTags": null, "Layers": names}]);
        let manifest = manifest.to_string();
        let mut files = vec![
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ];
        let of_layers = names.iter().zip(&layers);
        files.extend(of_layers.map(|(name, layer)| (name.as_str(), &layer[..])));
        self.file(name, tar(&files))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-push"));
        command.args(args).env_clear();
        command.env("HOME", self.0.path());
        command.env("PATH", self.0.path());
        // Nothing answers there: a registry on this machine is reached without.
        command.env("HTTP_PROXY", "http://127.0.0.1:9");
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        streams.stderr(Stdio::piped());
        command
    }

    /// Starts a push of archives to repositories.
    pub(crate) fn start(&self, registry: &str, images: &[(&Path, &str)], args: &[&str]) -> Child {
        let images = images
            .iter()
            .map(|(archive, repository)| json!({"archive": archive, "repository": repository}));
        let images: Vec<_> = images.collect();
        let request = json!({"registry": registry, "images": images}).to_string();
        let args = [&["push"], args].concat();
        let mut process = self.command(&args).spawn().expect("it starts");
        let mut stdin = process.stdin.take().expect("its input");
        stdin.write_all(request.as_bytes()).expect("it reads");
        process
    }

    pub(crate) fn push_all(
        &self,
        registry: &str,
        images: &[(&Path, &str)],
        args: &[&str],
    ) -> Ended {
        ended(self.start(registry, images, args))
    }

    /// Pushes an archive.
    pub(crate) fn push(&self, registry: &str, archive: &Path, args: &[&str]) -> Ended {
        self.push_all(registry, &[(archive, "datastorage")], args)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(args).spawn().expect("it starts"))
    }
}

fn ended(process: Child) -> Ended {
    let output = process.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"));
    Ended {
        ok: output.status.success(),
        answers: out.lines().map(line).collect(),
        failure: err.lines().next().map_or(Value::Null, line),
        said: out + &err,
    }
}

pub(crate) fn sum(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().fold("sha256:".to_owned(), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        let added = builder.append_data(&mut header, path, *bytes);
        added.expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

/// Bytes that no compression makes smaller.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}
