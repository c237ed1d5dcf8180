//! Who is let in: with a bearer token (RFC 6750) or a client certificate, where the settings ask for one; the health checks always.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use datastorage_api::{ProblemType, paths};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::AccessConfig;
use crate::credentials::{Look, Watched};
use crate::metrics::Metrics;
use crate::problem::Problem;

/// How often the files of tokens and certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the log says again that they are of no use.
const SAY_EVERY: Duration = Duration::from_mins(10);

/// What is known of who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nothing.
    Unknown,
    /// That it is one of those who may call.
    Proven,
}

/// Lets calls in.
#[derive(Debug)]
pub(crate) struct Gate {
    access: AccessConfig,
    metrics: Arc<Metrics>,
}

impl Gate {
    pub(crate) fn new(access: &AccessConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            access: access.clone(),
            metrics,
        }
    }

    /// What makes the TLS handshake, where the listener speaks TLS.
    pub(crate) fn acceptor(&self) -> Option<Arc<TlsAcceptor>> {
        self.access.tls.as_ref().map(|tls| tls.current())
    }

    /// A handshake failed.
    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.metrics.handshake_failed(reason);
    }

    /// Who is at the other end of a connection; certificates that the handshake let pass are good.
    pub(crate) fn caller<T>(&self, certificates: Option<&[T]>) -> Caller {
        if self.access.mutual_tls && certificates.is_some_and(|chain| !chain.is_empty()) {
            Caller::Proven
        } else {
            Caller::Unknown
        }
    }

    /// Who makes the call, or the answer that refuses it.
    #[expect(clippy::result_large_err, reason = "it is the answer, made once")]
    pub(crate) fn admit(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        caller: Caller,
    ) -> Result<Caller, Response> {
        let open = matches!(
            uri.path(),
            paths::HEALTH | paths::HEALTH_READY | paths::HEALTH_LIVE
        );
        if caller == Caller::Proven || open || !self.access.is_on() {
            return Ok(caller);
        }
        match self.token(headers) {
            Ok(()) => Ok(Caller::Proven),
            Err(refusal) => {
                self.metrics.refused_call(refusal.reason());
                Err(refusal.answer(&self.access))
            }
        }
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let value = match (given.next(), given.next()) {
            (None, _) => return Err(Refusal::NoToken),
            (Some(value), None) => value.as_bytes(),
            (Some(_), Some(_)) => return Err(Refusal::NotBearer),
        };
        let token = bearer(value).ok_or(Refusal::NotBearer)?;
        let tokens = self.access.tokens.as_ref().ok_or(Refusal::NoTokens)?;
        if tokens.current().accept(token) {
            Ok(())
        } else {
            Err(Refusal::WrongToken)
        }
    }
}

/// The token of an `Authorization` header; the scheme's name is in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer") && token.starts_with(b" ");
    is_bearer.then(|| token.trim_ascii())
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    NoToken,
    NotBearer,
    WrongToken,
    /// A token where only certificates are looked at.
    NoTokens,
}

impl Refusal {
    /// The metric's label.
    fn reason(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::NotBearer => "not_bearer",
            Self::WrongToken => "wrong_token",
            Self::NoTokens => "no_certificate",
        }
    }

    fn answer(self, access: &AccessConfig) -> Response {
        let found = match self {
            Self::NoToken => "the call proves nothing of who makes it",
            Self::NotBearer => "the Authorization header is not one bearer token",
            Self::WrongToken => "the bearer token is not valid, or not any more",
            Self::NoTokens => "this server takes no bearer tokens",
        };
        let token = "send Authorization: Bearer and a token from the file of auth.token_file";
        let certificate = "show a client certificate of an authority in tls.client_ca_file";
        let step = match (access.tokens.is_some(), access.mutual_tls) {
            (true, false) => token.to_owned(),
            (false, _) => certificate.to_owned(),
            (true, true) => format!("{token}, or {certificate}"),
        };
        let detail = format!("{found}; {step}");
        let mut response = Problem::new(ProblemType::Unauthorized, detail).into_response();
        let challenge = match self {
            Self::WrongToken => r#"Bearer realm="datastorage", error="invalid_token""#,
            _ => r#"Bearer realm="datastorage""#,
        };
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    }
}

/// Whoever calls is one of those who may: an operation that asks for this is closed where nothing is set up to prove it.
pub(crate) struct Proven;

impl<S: Sync> FromRequestParts<S> for Proven {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Caller>() {
            Some(Caller::Proven) => Ok(Self),
            _ => Err(Problem::new(
                ProblemType::Forbidden,
                "who puts parked writes back or deletes them must prove who calls, and this server is not set up for that; \
                 set auth.token_file (DATASTORAGE_AUTH_TOKEN_FILE) to a file of bearer tokens, or tls.client_ca_file \
                 (DATASTORAGE_TLS_CLIENT_CA_FILE), and call again with one",
            )),
        }
    }
}

/// Looks at the files of tokens and certificates until the server stops: what they hold next is in force within a second or two.
pub(crate) async fn keep_current(
    access: AccessConfig,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tokens = Told::default();
    let mut tls = Told::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if let Some(files) = &access.tokens {
            tokens.look_at(files, &metrics).await;
        }
        if let Some(files) = &access.tls {
            tls.look_at(files, &metrics).await;
        }
    }
}

/// What was said of some files.
#[derive(Default)]
struct Told(Option<Instant>);

impl Told {
    async fn look_at<T: Send + Sync + 'static>(
        &mut self,
        files: &Arc<Watched<T>>,
        metrics: &Metrics,
    ) {
        let looked = Arc::clone(files);
        // The disk may be slow, and this thread accepts connections.
        let Ok(look) = tokio::task::spawn_blocking(move || looked.look()).await else {
            return;
        };
        let files = files.name;
        match look {
            Look::Same => {}
            Look::Renewed => {
                tracing::info!(
                    files,
                    "files of credentials changed; what they hold now is in force"
                );
            }
            Look::Faulty { again: false, .. } => return,
            Look::Faulty { why, again: true } => {
                metrics.credentials_current(files, false);
                if self.0.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    self.0 = Some(Instant::now());
                    tracing::error!(
                        files,
                        why,
                        "files of credentials are of no use as they are now; what they held before stays in force: mend them"
                    );
                }
                return;
            }
        }
        metrics.credentials_current(files, true);
        if self.0.take().is_some() {
            tracing::info!(files, "files of credentials are of use again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn the_scheme_is_bearer_in_any_case_and_one_token_follows_it() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc ", Some("abc")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("", None),
        ] {
            assert_eq!(
                bearer(value.as_bytes()),
                token.map(str::as_bytes),
                "{value}"
            );
        }
    }
}
