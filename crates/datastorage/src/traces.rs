//! GET success rates and incidents, from the action traces that other services write.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use datastorage_api::limits;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{Cut, Json, JsonText};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::store::{Counts, IncidentFilter, RateFilter};

const TABLE: &str = "resource_action_traces";
/// The time that is looked back unless the request says another.
const TIME_RANGE: &str = "7d";
/// Executions that make a rate worth something unless the request says another number.
const MIN_SAMPLES: i32 = 5;
/// Executions from which a rate is trusted so much, highest first.
const CONFIDENCE: [(i64, &str); 4] = [
    (100, "high"),
    (20, "medium"),
    (5, "low"),
    (0, "insufficient_data"),
];
/// The most hours or days of a time range.
const LONGEST: u32 = 99_999;

/// `GET /api/v1/success-rate/incident-type`.
pub(crate) async fn by_incident_type(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut asked = Asked::new(&app, query.as_deref())?;
    let incident_type = asked.required("incident_type");
    let filter = RateFilter {
        incident_type: Some(incident_type.clone()),
        ..RateFilter::default()
    };
    let own = json!({"incident_type": incident_type});
    asked.answer(&app, filter, own, &[1]).await
}

/// `GET /api/v1/success-rate/workflow`.
pub(crate) async fn by_workflow(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut asked = Asked::new(&app, query.as_deref())?;
    let workflow_id = asked.required("workflow_id");
    let workflow_version = asked.given.text("workflow_version");
    let own = json!({
        "workflow_id": workflow_id,
        "workflow_version": workflow_version.as_deref().unwrap_or_default(),
    });
    let filter = RateFilter {
        workflow_id: Some(workflow_id),
        workflow_version,
        ..RateFilter::default()
    };
    asked.answer(&app, filter, own, &[0]).await
}

/// `GET /api/v1/success-rate/multi-dimensional`.
pub(crate) async fn by_dimensions(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut asked = Asked::new(&app, query.as_deref())?;
    let filter = RateFilter {
        since: Timestamp::default(),
        incident_type: asked.given.text("incident_type"),
        workflow_id: asked.given.text("workflow_id"),
        workflow_version: asked.given.text("workflow_version"),
        action_type: asked.given.text("action_type"),
    };
    if filter.workflow_version.is_some() && filter.workflow_id.is_none() {
        asked
            .given
            .fault("workflow_version", "needs a workflow_id beside it");
    }
    let dimensions: serde_json::Map<_, _> = [
        ("incident_type", &filter.incident_type),
        ("workflow_id", &filter.workflow_id),
        ("workflow_version", &filter.workflow_version),
        ("action_type", &filter.action_type),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
    .collect();
    if dimensions.is_empty() {
        asked.given.fault(
            "incident_type",
            "or workflow_id or action_type must be given",
        );
    }
    let own = json!({"dimensions": dimensions});
    asked.answer(&app, filter, own, &[0, 1, 2]).await
}

/// `GET /api/v1/incidents`.
pub(crate) async fn incidents(
    State(app): State<Arc<App>>,
    Extension(cut): Extension<Cut>,
    RawQuery(query): RawQuery,
) -> Result<JsonText, Problem> {
    app.require_table(TABLE)?;
    let mut given = Parameters::of(query.as_deref().unwrap_or_default());
    let filter = IncidentFilter {
        signal_name: given.text("signal_name"),
        severity: given.text("severity"),
        action_type: given.text("action_type"),
    };
    let limit = given.number("limit", limits::DEFAULT_WORKFLOWS, 1, limits::PAGE);
    let offset = given.number("offset", 0, 0, i64::MAX);
    given.finish(())?;
    let mut list = app.answers.list("data", cut).await?;
    let page = app.store.incidents(&filter, limit, offset, &mut list.text);
    let page = app.timed("incidents", page).await?;
    Ok(list.end(&json!({
        "pagination": {"limit": limit, "offset": offset, "total": page.total, "has_more": page.has_more(offset)},
    })))
}

/// `GET /api/v1/incidents/aggregate/success-rate`.
pub(crate) async fn incident_success_rate(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut asked = Asked::new(&app, query.as_deref())?;
    let id = asked.required("workflow_id");
    asked.given.finish(())?;
    let counts = app
        .timed("incident_success_rate", app.store.execution_counts(&id))
        .await?;
    Ok(Json(json!({
        "workflow_id": id,
        "total_count": counts.total,
        "success_count": counts.successful,
        "failure_count": counts.failed,
        "success_rate": share(counts),
    })))
}

/// The parameters of a request for a rate.
struct Asked {
    given: Parameters,
}

impl Asked {
    fn new(app: &App, query: Option<&str>) -> Result<Self, Problem> {
        app.require_table(TABLE)?;
        Ok(Self {
            given: Parameters::of(query.unwrap_or_default()),
        })
    }

    fn required(&mut self, name: &str) -> String {
        let value = self.given.text(name);
        if value.is_none() {
            self.given.fault(name, "must be given");
        }
        value.unwrap_or_default()
    }

    /// The rates of what `filter` picks, with the members of `own` and the lists among [`crate::store::Rates::breakdowns`].
    async fn answer(
        mut self,
        app: &App,
        mut filter: RateFilter,
        own: Value,
        lists: &[usize],
    ) -> Result<Json<Value>, Problem> {
        const NAMES: [&str; 3] = [
            "breakdown_by_incident_type",
            "breakdown_by_workflow",
            "breakdown_by_action",
        ];
        let time_range = self.given.text("time_range");
        let time_range = time_range.unwrap_or_else(|| TIME_RANGE.to_owned());
        let span = span(&time_range);
        if span.is_none() {
            let what = format!("must be 1h to {LONGEST}h or 1d to {LONGEST}d, such as 24h or 7d");
            self.given.fault("time_range", what);
        }
        let least = self.given.number("min_samples", MIN_SAMPLES, 1, i32::MAX);
        self.given.finish(())?;
        filter.since = span
            .and_then(|span| app.clock.now().checked_sub(span).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let rates = app
            .timed("success_rate", app.store.success_rates(&filter))
            .await?;
        let Counts {
            total,
            successful,
            failed,
        } = rates.counts;
        let confidence = CONFIDENCE.into_iter().find(|(from, _)| total >= *from);
        let mut answer = own;
        answer["time_range"] = time_range.into();
        answer["total_executions"] = total.into();
        answer["successful_executions"] = successful.into();
        answer["failed_executions"] = failed.into();
        answer["success_rate"] = (100.0 * share(rates.counts)).into();
        answer["confidence"] = confidence
            .map_or("insufficient_data", |(_, word)| word)
            .into();
        answer["min_samples_met"] = (total >= i64::from(least)).into();
        for (list, name) in rates
            .breakdowns
            .into_iter()
            .zip(NAMES)
            .enumerate()
            .filter_map(|(at, part)| lists.contains(&at).then_some(part))
        {
            if list.as_array().is_some_and(|list| !list.is_empty()) {
                answer[name] = list;
            }
        }
        let [catalog_selected, chained, manual_escalation] = rates.modes;
        if rates.modes.iter().any(|count| *count > 0) {
            answer["ai_execution_mode"] = json!({
                "catalog_selected": catalog_selected,
                "chained": chained,
                "manual_escalation": manual_escalation,
            });
        }
        Ok(Json(answer))
    }
}

/// The successful among all, from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn share(counts: Counts) -> f64 {
    if counts.total == 0 {
        return 0.0;
    }
    counts.successful as f64 / counts.total as f64
}

/// The length of a time range: a number of hours or days.
fn span(text: &str) -> Option<SignedDuration> {
    let (digits, hours) = match text.strip_suffix('h') {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('d')?, 24),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u32>().ok().filter(|_| is_number)?;
    (1..=LONGEST)
        .contains(&number)
        .then(|| SignedDuration::from_hours(i64::from(number) * hours))
}
