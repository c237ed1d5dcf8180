//! POST a search: the versions that fit the mandatory labels, best score first.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use datastorage_api::{
    WorkflowSearchRequest, WorkflowSearchResponse, WorkflowSearchResult, parse_workflow_search,
};

use super::score::{Ranked, Score};
use super::{TABLE, audit, timed};
use crate::app::App;
use crate::audit::Writer;
use crate::body::{Content, Json};
use crate::problem::Problem;
use crate::store::Candidate;

/// `POST /api/v1/workflows/search`.
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    State(writer): State<Writer>,
    request: Request,
) -> Result<Json<WorkflowSearchResponse>, Problem> {
    app.require_table(TABLE)?;
    let started = Instant::now();
    let body = app.bodies.read_json(Content::Record, request).await?;
    let request =
        parse_workflow_search(&body).map_err(|error| Problem::submission(&app.metrics, error))?;
    let statuses = statuses(&request);
    let candidates = app
        .store
        .search_candidates(&request.filters, statuses.as_deref());
    let candidates = timed(&app, "workflow_search", candidates).await?;
    let ranked = rank(&request, candidates);
    audit::searched(&app, writer, &request, &ranked, started.elapsed());
    Ok(Json(ranked.into_response(request)))
}

/// The statuses that are found; none for all.
fn statuses(request: &WorkflowSearchRequest) -> Option<Vec<String>> {
    if !request.filters.status.is_empty() {
        Some(request.filters.status.clone())
    } else if request.include_disabled {
        None
    } else {
        Some(vec!["active".to_owned()])
    }
}

/// The best of the candidates, which are newest first; of equal scores the newer is the better.
fn rank(request: &WorkflowSearchRequest, candidates: Vec<Candidate>) -> Ranked {
    let mut best: Vec<_> = candidates
        .into_iter()
        .map(|candidate| (Score::of(&request.filters, &candidate), candidate))
        .filter(|(score, _)| score.value() >= request.min_score)
        .collect();
    best.sort_by_key(|(score, _)| std::cmp::Reverse(score.points()));
    let total = best.len();
    best.truncate(usize::try_from(request.top_k).unwrap_or_default());
    Ranked { best, total }
}

impl Ranked {
    fn into_response(self, request: WorkflowSearchRequest) -> WorkflowSearchResponse {
        let workflows = self.best.into_iter().zip(1..);
        let workflows = workflows
            .map(|((score, candidate), rank)| result(score, candidate, rank))
            .collect();
        WorkflowSearchResponse {
            workflows,
            total_results: self.total,
            filters: request.filters,
        }
    }
}

fn result(score: Score, candidate: Candidate, rank: usize) -> WorkflowSearchResult {
    WorkflowSearchResult {
        workflow_id: candidate.workflow_id,
        title: candidate.name,
        description: candidate.description,
        signal_type: candidate.signal_type,
        container_image: candidate.container_image,
        container_digest: candidate.container_digest,
        confidence: score.value(),
        label_boost: score.boost(),
        label_penalty: score.penalty(),
        final_score: score.value(),
        rank,
        custom_labels: candidate.custom_labels,
        detected_labels: candidate.detected_labels,
    }
}
