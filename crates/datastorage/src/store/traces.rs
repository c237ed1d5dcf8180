//! Reads success rates and incidents from the action traces, which other services write.

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::{Json, ToSql};

use super::access::Store;
use super::error::StoreError;
use super::list::Listed;
use super::pools::Use;

const RELATION: &str = "resource_action_traces";

/// Counts of the traces that fit, whole and by what they have in common; the most frequent first.
const RATES: &str = "
    WITH picked AS MATERIALIZED (
        SELECT incident_type, workflow_id, coalesce(workflow_version, '') AS workflow_version, action_type,
               execution_status = 'completed' AS successful, execution_status = 'failed' AS failed,
               ai_selected_workflow, ai_chained_workflows, ai_manual_escalation
        FROM resource_action_traces
        WHERE action_timestamp >= $1
          AND ($2::text IS NULL OR incident_type = $2)
          AND ($3::text IS NULL OR workflow_id = $3)
          AND ($4::text IS NULL OR workflow_version = $4)
          AND ($5::text IS NULL OR action_type = $5)
    )
    SELECT count(*), count(*) FILTER (WHERE successful), count(*) FILTER (WHERE failed),
           count(*) FILTER (WHERE ai_selected_workflow), count(*) FILTER (WHERE ai_chained_workflows),
           count(*) FILTER (WHERE ai_manual_escalation),
           (SELECT coalesce(json_agg(part), '[]') FROM (
               SELECT incident_type, count(*) AS executions,
                      100::float8 * count(*) FILTER (WHERE successful) / count(*) AS success_rate
               FROM picked WHERE incident_type IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000) AS part),
           (SELECT coalesce(json_agg(part), '[]') FROM (
               SELECT workflow_id, workflow_version, count(*) AS executions,
                      100::float8 * count(*) FILTER (WHERE successful) / count(*) AS success_rate
               FROM picked WHERE workflow_id IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 1000) AS part),
           (SELECT coalesce(json_agg(part), '[]') FROM (
               SELECT action_type, count(*) AS executions,
                      100::float8 * count(*) FILTER (WHERE successful) / count(*) AS success_rate
               FROM picked GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000) AS part)
    FROM picked";

/// As the existing service counts: all traces whose action, or workflow, has the id.
const COUNTS: &str = "
    SELECT count(*), count(*) FILTER (WHERE execution_status = 'completed'), count(*) FILTER (WHERE execution_status = 'failed')
    FROM resource_action_traces
    WHERE action_id = $1 OR workflow_id = $1";

/// A page of traces, and in each row the count of all that fit.
const INCIDENTS: &str = "
    WITH fitting AS MATERIALIZED (
        SELECT id, action_timestamp FROM resource_action_traces
        WHERE ($1::text IS NULL OR signal_name = $1)
          AND ($2::text IS NULL OR signal_severity = $2)
          AND ($3::text IS NULL OR action_type = $3)
    ), page AS (
        SELECT id, action_timestamp FROM fitting ORDER BY action_timestamp DESC, id DESC LIMIT $4 OFFSET $5
    )
    SELECT (SELECT count(*) FROM fitting), CASE WHEN trace.id IS NOT NULL THEN to_json(trace) END
    FROM (VALUES (1)) AS one
    LEFT JOIN (page JOIN resource_action_traces AS trace USING (id, action_timestamp)) ON true
    ORDER BY action_timestamp DESC, id DESC";

/// Which executions are counted; none of a kind means all.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateFilter {
    pub(crate) since: Timestamp,
    pub(crate) incident_type: Option<String>,
    pub(crate) workflow_id: Option<String>,
    pub(crate) workflow_version: Option<String>,
    pub(crate) action_type: Option<String>,
}

/// How many executions there were, and how they ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) total: i64,
    pub(crate) successful: i64,
    pub(crate) failed: i64,
}

/// Counts with their parts.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    pub(crate) counts: Counts,
    /// Selected from the catalogue, chained, escalated to a person.
    pub(crate) modes: [i64; 3],
    /// By type of incident, by workflow, by type of action: each a list.
    pub(crate) breakdowns: [Value; 3],
}

/// Which traces are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct IncidentFilter {
    pub(crate) signal_name: Option<String>,
    pub(crate) severity: Option<String>,
    pub(crate) action_type: Option<String>,
}

impl Store {
    /// The success rates of what fits.
    pub(crate) async fn success_rates(&self, filter: &RateFilter) -> Result<Rates, StoreError> {
        self.run(Use::Long, RELATION, async |client| {
            let statement = client.prepare_cached(RATES).await?;
            let RateFilter {
                since,
                incident_type,
                workflow_id,
                workflow_version,
                action_type,
            } = filter;
            let row = client
                .query_one(
                    &statement,
                    &[
                        since,
                        incident_type,
                        workflow_id,
                        workflow_version,
                        action_type,
                    ],
                )
                .await?;
            let list = |at: usize| row.try_get(at).map(|Json(list)| list);
            Ok(Rates {
                counts: Counts {
                    total: row.try_get(0)?,
                    successful: row.try_get(1)?,
                    failed: row.try_get(2)?,
                },
                modes: [row.try_get(3)?, row.try_get(4)?, row.try_get(5)?],
                breakdowns: [list(6)?, list(7)?, list(8)?],
            })
        })
        .await
    }

    /// How the executions of an action or a workflow ended, at any time.
    pub(crate) async fn execution_counts(&self, id: &str) -> Result<Counts, StoreError> {
        self.run(Use::Long, RELATION, async |client| {
            let statement = client.prepare_cached(COUNTS).await?;
            let row = client.query_one(&statement, &[&id]).await?;
            Ok(Counts {
                total: row.try_get(0)?,
                successful: row.try_get(1)?,
                failed: row.try_get(2)?,
            })
        })
        .await
    }

    /// Appends a page of traces, newest first, to `text`.
    pub(crate) async fn incidents(
        &self,
        filter: &IncidentFilter,
        limit: i32,
        offset: i64,
        text: &mut Vec<u8>,
    ) -> Result<Listed, StoreError> {
        let IncidentFilter {
            signal_name,
            severity,
            action_type,
        } = filter;
        let limit = i64::from(limit);
        let values: [&(dyn ToSql + Sync); 5] =
            [signal_name, severity, action_type, &limit, &offset];
        self.list(RELATION, INCIDENTS, &values, text).await
    }
}
