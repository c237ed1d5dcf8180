//! The service under test, asked to do something: a fake, which plays a scenario.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use testkit::wait;

use crate::audit::STORED_WITHIN;
use crate::environment::variable;
use crate::fault;

/// Longest time for the service to answer that it has emitted.
const ANSWER: Duration = Duration::from_secs(10);
/// Seconds that one flush waits; it is repeated.
const FLUSH: u64 = 5;

/// What the service says that it has emitted.
#[derive(Debug, Deserialize)]
pub(crate) struct Played {
    /// What ties the events together.
    pub(crate) correlation_id: String,
    /// The events in order.
    pub(crate) emitted: Vec<Emitted>,
}

/// One event of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Emitted {
    /// Its key.
    pub(crate) event_id: String,
    /// Its type.
    pub(crate) event_type: String,
}

/// Has the service do `scenario` with `names` in it, and returns when Data Storage has committed what it emitted.
pub(crate) async fn play(scenario: &str, names: &Value) -> Played {
    let _undisturbed = fault::none().await;
    let began = Instant::now();
    let played = emit(scenario, "", names).await;
    stored().await;
    println!(
        "{scenario}: {} events stored after {:.0?}",
        played.emitted.len(),
        began.elapsed()
    );
    played
}

/// Has the service do the steps `steps` of a scenario, such as `from=2`, and returns when it has emitted: nothing more is known.
pub(crate) async fn emit(scenario: &str, steps: &str, names: &Value) -> Played {
    let asked = post(&format!("scenarios/{scenario}?{steps}"), names, ANSWER).await;
    asked.unwrap_or_else(|problem| panic!("{scenario}: {problem}"))
}

/// Returns when Data Storage has committed all that the service emitted.
pub(crate) async fn stored() {
    let path = format!("flush?seconds={FLUSH}");
    let longest = ANSWER + Duration::from_secs(FLUSH);
    let _: Value = wait::until(
        "Data Storage to have all that the service emitted",
        STORED_WITHIN,
        async || post(&path, &Value::Null, longest).await,
    )
    .await;
    fault::is_over();
}

/// Returns what the service says of itself.
pub(crate) async fn health() -> Value {
    let asked = async || answer(&ask("health", None, ANSWER).await?);
    asked().await.unwrap_or_else(|error| panic!("{error}"))
}

/// Returns when the service answers.
pub(crate) async fn answers() {
    wait::until("the service to answer", STORED_WITHIN, async || {
        ask("health/live", None, ANSWER).await
    })
    .await;
}

/// Returns the answer to a success, else the problem.
async fn post<T: DeserializeOwned + Debug>(
    path: &str,
    body: &Value,
    deadline: Duration,
) -> Result<T, String> {
    answer(&ask(path, Some(body.clone()), deadline).await?)
}

fn answer<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("the service answered {text}: {error}"))
}

/// Posts a body, else gets, beside the runtime: the client is the tool's own, which waits in its thread. Returns a success's text.
async fn ask(path: &str, body: Option<Value>, deadline: Duration) -> Result<String, String> {
    let url = format!("{}/{path}", variable(e2e_env::SERVICE_URL));
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(deadline))
            .http_status_as_error(false)
            .build()
            .into();
        let answer = match body {
            Some(body) => agent.post(&url).send_json(body),
            None => agent.get(&url).call(),
        };
        let answer = answer.and_then(|mut answer| {
            let text = answer.body_mut().read_to_string()?;
            Ok((answer.status(), text))
        });
        match answer {
            Ok((status, text)) if status.is_success() => Ok(text),
            Ok((status, text)) => Err(format!("{url} answered {status}: {text}")),
            Err(error) => Err(format!("{url}: {error}")),
        }
    });
    asked.await.expect("the thread of a request does not panic")
}
