//! GET a page of audit events.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use datastorage_api::time::parse_bound;
use datastorage_api::{EventOutcome, Pagination, limits};
use serde_json::json;

use crate::app::App;
use crate::body::{Cut, JsonText};
use crate::cursor::Cursor;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::store::{EventFilter, Position};

/// `GET /api/v1/audit/events`.
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Extension(cut): Extension<Cut>,
    RawQuery(query): RawQuery,
) -> Result<JsonText, Problem> {
    app.require_table("audit_events")?;
    let asked = Asked::parse(query.as_deref().unwrap_or_default(), &app)?;
    let mut list = app.answers.list("data", cut).await?;
    let page = app
        .store
        .query_events(&asked.filter, asked.position(), asked.limit, &mut list.text);
    let page = app.timed("audit_events", page).await?;
    if let Some(large) = page.large {
        list.grow(2 * large.bytes).await?;
        let read = app.store.append_large(large, &mut list.text).await;
        read.map_err(|error| app.failed(&error))?;
    }

    let offset = asked.cursor.map_or(asked.offset, |cursor| cursor.seen);
    let total = page
        .total
        .or(asked.cursor.map(|cursor| cursor.total))
        .unwrap_or_default();
    let seen = offset.saturating_add(i64::try_from(page.count).unwrap_or_default());
    let next = page
        .last
        .filter(|_| page.has_more)
        .map(|(time, id)| Cursor {
            time,
            id,
            total,
            seen,
        });
    let next_cursor = next.map(|cursor| app.cursors.write(cursor));
    let pagination = Pagination {
        limit: asked.limit,
        offset,
        total,
        has_more: page.has_more,
        next_cursor,
    };
    Ok(list.end(&json!({"pagination": pagination})))
}

/// What a request asks for.
struct Asked {
    filter: EventFilter,
    limit: i32,
    offset: i64,
    cursor: Option<Cursor>,
}

impl Asked {
    fn parse(query: &str, app: &App) -> Result<Self, Problem> {
        let now = app.clock.now();
        let mut parameters = Parameters::of(query);
        let bound = |parameters: &mut Parameters, name: &str| {
            let text = parameters.text(name)?;
            parse_bound(&text, now)
                .map_err(|error| parameters.fault(name, error))
                .ok()
        };
        let cursor = parameters.text("cursor").and_then(|text| {
            let cursor = app.cursors.read(&text);
            if cursor.is_none() {
                parameters.fault(
                    "cursor",
                    "invalid cursor: it must be a next_cursor of an earlier page",
                );
            }
            cursor
        });
        let asked = Self {
            filter: EventFilter {
                correlation_id: parameters.text("correlation_id"),
                event_type: parameters.text("event_type"),
                event_category: parameters.text("event_category"),
                event_outcome: parameters.word(
                    "event_outcome",
                    &EventOutcome::ALL.map(EventOutcome::as_str),
                ),
                severity: parameters.text("severity"),
                resource_type: parameters.text("resource_type"),
                resource_id: parameters.text("resource_id"),
                actor_type: parameters.text("actor_type"),
                actor_id: parameters.text("actor_id"),
                since: bound(&mut parameters, "since"),
                until: bound(&mut parameters, "until"),
            },
            limit: parameters.number("limit", limits::DEFAULT_PAGE, 1, limits::PAGE),
            offset: parameters.number("offset", 0, 0, i64::MAX),
            cursor,
        };
        if asked.cursor.is_some() && parameters.text("offset").is_some() {
            parameters.fault("cursor", "cannot be combined with offset");
        }
        parameters.finish(asked)
    }

    fn position(&self) -> Position {
        self.cursor.map_or(Position::Offset(self.offset), |cursor| {
            Position::After(cursor.time, cursor.id)
        })
    }
}
