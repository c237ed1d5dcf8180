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
    let url = format!("{}/health", variable(e2e_env::SERVICE_URL));
    let asked = async || reqwest::get(&url).await?.json::<Value>().await;
    asked()
        .await
        .unwrap_or_else(|error| panic!("{url}: {}", chain(&error)))
}

/// Returns when the service answers.
pub(crate) async fn answers() {
    let live = format!("{}/health/live", variable(e2e_env::SERVICE_URL));
    wait::until("the service to answer", STORED_WITHIN, async || {
        let answer = reqwest::get(&live)
            .await
            .map_err(|error| error.to_string())?;
        answer.error_for_status().map_err(|error| error.to_string())
    })
    .await;
}

/// Returns the answer to a success, else the problem.
async fn post<T: DeserializeOwned + Debug>(
    path: &str,
    body: &Value,
    deadline: Duration,
) -> Result<T, String> {
    let url = format!("{}/{path}", variable(e2e_env::SERVICE_URL));
    let request = reqwest::Client::new()
        .post(&url)
        .json(body)
        .timeout(deadline);
    let answer = request.send().await.map_err(|error| chain(&error))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| chain(&error))?;
    if !status.is_success() {
        return Err(format!("{url} answered {status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| format!("{url} answered {text}: {error}"))
}

/// The library's own text leaves the cause to its chain.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
