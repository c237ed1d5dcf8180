//! A bearer token in a file, read again when it may have changed.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;

use crate::Error;

/// How long what was read is taken for what the file holds.
const FRESH: Duration = Duration::from_secs(1);

/// The token of a file, as the header that carries it.
pub(crate) struct Token {
    file: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    header: HeaderValue,
    read: Instant,
}

impl Token {
    /// Reads the file for the first time.
    pub(crate) fn read(file: PathBuf) -> Result<Self, Error> {
        let text = std::fs::read(&file).map_err(|error| error.to_string());
        let header = text.and_then(|text| header(&text)).map_err(|what| {
            let file = file.display();
            Error::Access(format!(
                "cannot take a token from {file}: {what}; put it into the first line"
            ))
        })?;
        let known = Mutex::new(Known {
            header,
            read: Instant::now(),
        });
        Ok(Self { file, known })
    }

    /// The header to send now.
    pub(crate) async fn current(&self) -> HeaderValue {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.read.elapsed() < FRESH {
                return known.header.clone();
            }
        }
        self.read_again().await
    }

    /// The header of what the file holds now; of what it held, where it is of no use now: the server says whether that is still valid.
    pub(crate) async fn read_again(&self) -> HeaderValue {
        let now = tokio::fs::read(Path::new(&self.file)).await;
        let now = now.ok().and_then(|text| header(&text).ok());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.read = Instant::now();
        if let Some(header) = now {
            known.header = header;
        }
        known.header.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The header of the first line that is not empty.
fn header(text: &[u8]) -> Result<HeaderValue, String> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let token = lines.find(|line| !line.is_empty()).ok_or("it holds none")?;
    // RFC 6750, section 2.1.
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if !token.iter().all(fits) {
        return Err("its first line holds a character that a bearer token cannot have".to_owned());
    }
    let value = [b"Bearer ".as_slice(), token].concat();
    let mut value = HeaderValue::try_from(value).map_err(|_| "it is too long".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
