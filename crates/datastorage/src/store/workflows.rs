//! The workflow catalogue: rows go in and come out as JSON, since columns and members of the contract have the same names.
//!
//! A change and the server's own audit event of it are one transaction.

use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use datastorage_api::{
    CustomLabels, DetectedLabels, NewEvent, NewWorkflow, WorkflowSearchFilters, limits,
};
use deadpool_postgres::Object;
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::access::{Rest, Store};
use super::error::StoreError;
use super::events;
use super::list::Listed;
use super::pools::Use;
use super::transaction::{BEGIN, Failure, commit, roll_back};
use crate::tables::{WORKFLOW_COLUMNS as COLUMNS, WORKFLOW_OWN_COLUMNS as OWN_COLUMNS};

const RELATION: &str = "remediation_workflow_catalog";

/// Held until the commit, so that of versions registered at the same time exactly one becomes the latest.
const LOCK: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('remediation_workflow_catalog ' || $1, 0))";

/// The time is taken after the lock: the latest version is the newest, too.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO remediation_workflow_catalog AS stored ({OWN_COLUMNS}, {COLUMNS})
         SELECT $1, true, clock.now, clock.now, {COLUMNS}
         FROM (SELECT clock_timestamp() AS now) AS clock,
              jsonb_populate_record(NULL::remediation_workflow_catalog, $2) AS given
         ON CONFLICT (workflow_name, version) DO NOTHING
         RETURNING to_json(stored)"
    )
});

const UNFLAG_FORMER: &str = "
    UPDATE remediation_workflow_catalog SET is_latest_version = false
    WHERE workflow_name = $1 AND is_latest_version";

/// A version that stops being disabled forgets who disabled it, when, and why.
const UPDATE: &str = "
    UPDATE remediation_workflow_catalog AS stored
    SET status = coalesce($2, status),
        disabled_at = CASE WHEN $2 IS NULL OR $2 = status THEN disabled_at WHEN $2 = 'disabled' THEN now() END,
        disabled_by = coalesce($3, CASE WHEN $2 IS NULL OR $2 = 'disabled' THEN disabled_by END),
        disabled_reason = coalesce($4, CASE WHEN $2 IS NULL OR $2 = 'disabled' THEN disabled_reason END),
        updated_by = coalesce($5, updated_by)
    WHERE workflow_id = $1
    RETURNING workflow_name, version, status, to_json(stored)";

/// One row of JSON per version, newest first, beside the count of all matches; where none is on the page, one null.
const LIST: &str = "
    WITH matches AS (
        SELECT *
        FROM remediation_workflow_catalog
        WHERE ($1::text IS NULL OR status = $1)
          AND ($2::text IS NULL OR labels ->> 'environment' = $2)
          AND ($3::text IS NULL OR labels ->> 'priority' = $3)
          AND ($4::text IS NULL OR labels ->> 'component' = $4)
    ), page AS (
        SELECT * FROM matches ORDER BY created_at DESC, workflow_id DESC LIMIT $5 OFFSET $6
    )
    SELECT (SELECT count(*) FROM matches), CASE WHEN page.workflow_id IS NOT NULL THEN to_json(page) END
    FROM (VALUES (1)) AS one LEFT JOIN page ON true
    ORDER BY page.created_at DESC, page.workflow_id DESC";

const GET: &str =
    "SELECT to_json(stored) FROM remediation_workflow_catalog AS stored WHERE workflow_id = $1";

/// Takes the lock that a change of the row holds until its commit.
const LOCK_ROW: &str = "SELECT FROM remediation_workflow_catalog WHERE workflow_id = $1 FOR UPDATE";

/// The version as it is, if the audit event of a change to it is stored.
const CHANGED: &str = "
    SELECT to_json(stored) FROM remediation_workflow_catalog AS stored
    WHERE workflow_id = $1 AND EXISTS (
        SELECT FROM audit_events WHERE event_id = $2 AND event_date = ($3::timestamptz AT TIME ZONE 'UTC')::date)";

const VERSIONS: &str = "
    SELECT (SELECT count(*) FROM remediation_workflow_catalog WHERE workflow_name = $1), to_json(stored)
    FROM remediation_workflow_catalog AS stored
    WHERE workflow_name = $1 ORDER BY created_at DESC, workflow_id DESC";

/// What the latest versions that fit the mandatory labels are scored by, newest first.
const CANDIDATES: &str = "
    SELECT to_json(candidate)
    FROM (
        SELECT workflow_id, custom_labels, detected_labels
        FROM remediation_workflow_catalog
        WHERE is_latest_version
          AND ($1::text[] IS NULL OR status = ANY ($1))
          AND labels @> jsonb_build_object('signal_type', $2::text, 'severity', $3::text, 'environment', $4::text)
          AND labels ->> 'component' IN ($5, '*')
          AND labels ->> 'priority' IN ($6, '*')
        ORDER BY created_at DESC, workflow_id DESC
    ) AS candidate";

/// What a search shows of the versions of these ids, in their order.
const FOUND: &str = "
    SELECT to_json(found)
    FROM (
        SELECT workflow_id, name, version, description, owner, maintainer, labels, labels ->> 'signal_type' AS signal_type,
               custom_labels, detected_labels, container_image, container_digest
        FROM unnest($1::uuid[]) WITH ORDINALITY AS best (workflow_id, rank)
        JOIN remediation_workflow_catalog USING (workflow_id)
        ORDER BY rank
    ) AS found";

/// Waits before each check for a commit that was not answered; in between a server may have restarted.
const SETTLE_PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// How to learn what became of a transaction that was not answered.
struct Question<'a> {
    /// Takes a lock of that transaction, so it is granted once that has ended, and what follows sees what it did.
    wait: (&'static str, &'a (dyn ToSql + Sync)),
    /// Gives the row that it left, by its keys.
    find: (&'static str, &'a [&'a (dyn ToSql + Sync)]),
}

/// One version as JSON, in the contract's shape.
pub(crate) type WorkflowRow = Box<RawValue>;

/// Which versions a list shows; all given filters must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WorkflowFilter {
    pub(crate) status: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) component: Option<String>,
}

/// What is to change of a version; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WorkflowChange {
    pub(crate) status: Option<String>,
    pub(crate) disabled_by: Option<String>,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) updated_by: Option<String>,
}

/// What names a changed version in its audit event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangedWorkflow {
    pub(crate) workflow_id: Uuid,
    pub(crate) workflow_name: String,
    pub(crate) version: String,
    pub(crate) status: String,
}

/// A version that fits a search's mandatory labels, as it is scored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) workflow_id: Uuid,
    pub(crate) custom_labels: CustomLabels,
    pub(crate) detected_labels: DetectedLabels,
}

/// A version that a search shows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Found {
    pub(crate) workflow_id: Uuid,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) owner: Option<String>,
    pub(crate) maintainer: Option<String>,
    pub(crate) labels: serde_json::Value,
    pub(crate) signal_type: String,
    pub(crate) custom_labels: CustomLabels,
    pub(crate) detected_labels: DetectedLabels,
    pub(crate) container_image: Option<String>,
    pub(crate) container_digest: Option<String>,
}

impl Store {
    /// Registers a version under `id` as the latest of its name, and stores `audit` with it; none when name and version are
    /// taken. A commit without an answer is looked for by `id`; where that cannot be done either, the error is in doubt.
    pub(crate) async fn create_workflow(
        &self,
        id: Uuid,
        workflow: &NewWorkflow,
        audit: Option<&NewEvent>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        let error = match self.try_create_workflow(id, workflow, audit).await {
            Err(error) if error.is_in_doubt() => error,
            result => return result,
        };
        let asked = Question {
            wait: (LOCK, &workflow.workflow_name),
            find: (GET, &[&id]),
        };
        self.settle(error, asked).await
    }

    async fn try_create_workflow(
        &self,
        id: Uuid,
        workflow: &NewWorkflow,
        audit: Option<&NewEvent>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        self.transact(Use::Long, RELATION, async |client| {
            let (lock, insert, unflag) = (
                client.prepare_cached(LOCK).await?,
                client.prepare_cached(&INSERT).await?,
                client.prepare_cached(UNFLAG_FORMER).await?,
            );
            client.batch_execute(BEGIN).await?;
            client.query_one(&lock, &[&workflow.workflow_name]).await?;
            // First, for at no time may two versions be the latest; where the version is taken, this is rolled back as well.
            client.execute(&unflag, &[&workflow.workflow_name]).await?;
            let Some(row) = client.query_opt(&insert, &[&id, &Json(workflow)]).await? else {
                roll_back(client).await?;
                return Ok(None);
            };
            commit_with(client, audit).await?;
            Ok(Some(json(&row, 0)?))
        })
        .await
    }

    /// Changes a version and stores what `audit` makes of it; none when there is no such version. A commit without an answer is
    /// looked for by the id of that event; where that cannot be done, the error is in doubt.
    pub(crate) async fn update_workflow(
        &self,
        id: Uuid,
        change: &WorkflowChange,
        audit: impl FnOnce(&ChangedWorkflow) -> Option<NewEvent>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        let mut event = None;
        let result = self
            .try_update_workflow(id, change, audit, &mut event)
            .await;
        let (error, event) = match (result, event) {
            (Err(error), Some(event)) if error.is_in_doubt() => (error, event),
            (result, _) => return result,
        };
        let asked = Question {
            wait: (LOCK_ROW, &id),
            find: (CHANGED, &[&id, &event.event_id, &event.event_timestamp]),
        };
        self.settle(error, asked).await
    }

    async fn try_update_workflow(
        &self,
        id: Uuid,
        change: &WorkflowChange,
        audit: impl FnOnce(&ChangedWorkflow) -> Option<NewEvent>,
        event: &mut Option<NewEvent>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        self.transact(Use::Long, RELATION, async |client| {
            let update = client.prepare_cached(UPDATE).await?;
            client.batch_execute(BEGIN).await?;
            let WorkflowChange {
                status,
                disabled_by,
                disabled_reason,
                updated_by,
            } = change;
            let row = client
                .query_opt(
                    &update,
                    &[&id, status, disabled_by, disabled_reason, updated_by],
                )
                .await?;
            let Some(row) = row else {
                roll_back(client).await?;
                return Ok(None);
            };
            let changed = ChangedWorkflow {
                workflow_id: id,
                workflow_name: row.try_get(0)?,
                version: row.try_get(1)?,
                status: row.try_get(2)?,
            };
            *event = audit(&changed);
            commit_with(client, event.as_ref()).await?;
            Ok(Some(json(&row, 3)?))
        })
        .await
    }

    /// Asks what became of a commit that was not answered. Where it did not happen `error` remains, as a failure that stored
    /// nothing; where nobody can be asked it stays in doubt.
    async fn settle(
        &self,
        mut error: StoreError,
        asked: Question<'_>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        for pause in SETTLE_PAUSES {
            tokio::time::sleep(pause).await;
            match self.ask(&asked).await {
                Ok(Some(row)) => return Ok(Some(row)),
                Ok(None) => {
                    error.in_doubt = false;
                    return Err(error);
                }
                Err(again) => tracing::debug!(%again, "what became of a change is not known yet"),
            }
        }
        Err(error)
    }

    async fn ask(&self, asked: &Question<'_>) -> Result<Option<WorkflowRow>, StoreError> {
        let ((wait, key), (find, keys)) = (asked.wait, asked.find);
        self.run(Use::Long, RELATION, async |client| {
            let wait = client.prepare_cached(wait).await?;
            let find = client.prepare_cached(find).await?;
            client.batch_execute(BEGIN).await?;
            client.query_opt(&wait, &[key]).await?;
            let row = client.query_opt(&find, keys).await?;
            roll_back(client).await?;
            row.map(|row| json(&row, 0)).transpose()
        })
        .await
    }

    /// The version of that id.
    pub(crate) async fn get_workflow(&self, id: Uuid) -> Result<Option<WorkflowRow>, StoreError> {
        self.run(Use::Long, RELATION, async |client| {
            let get = client.prepare_cached(GET).await?;
            let row = client.query_opt(&get, &[&id]).await?;
            row.map(|row| json(&row, 0)).transpose()
        })
        .await
    }

    /// Appends a page of versions, newest first, to `text`.
    pub(crate) async fn list_workflows(
        &self,
        filter: &WorkflowFilter,
        limit: i32,
        offset: i64,
        text: &mut Vec<u8>,
    ) -> Result<Listed, StoreError> {
        let WorkflowFilter {
            status,
            environment,
            priority,
            component,
        } = filter;
        let limit = i64::from(limit);
        let values: [&(dyn ToSql + Sync); 6] =
            [status, environment, priority, component, &limit, &offset];
        self.list(RELATION, LIST, &values, text).await
    }

    /// Appends the versions of that name, newest first, to `text`.
    pub(crate) async fn workflow_versions(
        &self,
        name: &str,
        text: &mut Vec<u8>,
    ) -> Result<Listed, StoreError> {
        self.list(RELATION, VERSIONS, &[&name], text).await
    }

    /// Hands over the latest versions that fit the mandatory labels and have one of `statuses` (none: any), one at a time, newest
    /// first.
    pub(crate) async fn search_candidates(
        &self,
        filters: &WorkflowSearchFilters,
        statuses: Option<&[String]>,
        mut take: impl FnMut(Candidate),
    ) -> Result<(), StoreError> {
        self.run(Use::Long, RELATION, async |client| {
            let candidates = client.prepare_cached(CANDIDATES).await?;
            let labels = &filters.labels;
            let values: [&(dyn ToSql + Sync); 6] = [
                &statuses,
                &labels.signal_type,
                &labels.severity,
                &labels.environment,
                &labels.component,
                &labels.priority,
            ];
            let mut rows = pin!(client.query_raw(&candidates, values).await?);
            while let Some(row) = rows.try_next().await? {
                let Json(candidate) = row.try_get(0)?;
                take(candidate);
            }
            Ok(())
        })
        .await
    }

    /// The versions of these ids, in their order: at least one, and no more than fit into [`limits::PAGE_BYTES`].
    pub(crate) async fn found_workflows(&self, ids: &[Uuid]) -> Result<Vec<Found>, StoreError> {
        self.read(Use::Long, RELATION, async |client| {
            let statement = client.prepare_cached(FOUND).await?;
            let mut rows = pin!(client.query_raw(&statement, [&ids]).await?);
            let (mut found, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.try_next().await? {
                let Json(raw) = row.try_get::<_, Json<&RawValue>>(0)?;
                bytes += raw.get().len();
                if bytes > limits::PAGE_BYTES && !found.is_empty() {
                    return Ok((found, Rest::Unread));
                }
                found.push(row.try_get::<_, Json<Found>>(0)?.0);
            }
            Ok((found, Rest::after(bytes)))
        })
        .await
    }
}

/// Ends the transaction that `client` is in, with the server's own audit event in it.
async fn commit_with(client: &Object, audit: Option<&NewEvent>) -> Result<(), Failure> {
    if let Some(event) = audit {
        events::insert_within(client, event).await?;
    }
    commit(client).await
}

fn json(row: &Row, column: usize) -> Result<WorkflowRow, tokio_postgres::Error> {
    row.try_get(column).map(|Json(workflow)| workflow)
}
