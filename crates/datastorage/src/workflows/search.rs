//! POST a search: the versions that fit the mandatory labels, best score first.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use datastorage_api::{
    WorkflowSearchFilters, WorkflowSearchRequest, WorkflowSearchResponse, WorkflowSearchResult,
    parse_workflow_search,
};
use uuid::Uuid;

use super::score::{Ranked, Score};
use super::{TABLE, audit};
use crate::app::App;
use crate::audit::Writer;
use crate::body::{Content, Cut, JsonText};
use crate::problem::Problem;
use crate::store::{Candidate, Found};

/// `POST /api/v1/workflows/search`.
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    State(writer): State<Writer>,
    Extension(cut): Extension<Cut>,
    request: Request,
) -> Result<JsonText, Problem> {
    app.require_table(TABLE)?;
    let started = Instant::now();
    let body = app.bodies.read_json(Content::Record, request).await?;
    let request =
        parse_workflow_search(&body).map_err(|error| Problem::submission(&app.metrics, error))?;
    let statuses = statuses(&request);
    let share = app.answers.share(cut).await?;
    let mut best = Best::new(&request);
    let ranked = async {
        let take = |candidate: Candidate| best.take(&request.filters, &candidate);
        app.store
            .search_candidates(&request.filters, statuses.as_deref(), take)
            .await?;
        let found = app.store.found_workflows(&best.ids()).await?;
        Ok(best.with(found))
    };
    let ranked = app.timed("workflow_search", ranked).await?;
    audit::searched(&app, writer, &request, &ranked, started.elapsed());
    JsonText::new(&ranked.into_response(request), share)
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

/// The best of the candidates seen so far, which come newest first; of equal scores the newer is the better.
struct Best {
    least: f64,
    most: usize,
    /// Best first.
    scores: Vec<(Score, Uuid)>,
    /// How many fit in all.
    total: usize,
}

impl Best {
    fn new(request: &WorkflowSearchRequest) -> Self {
        Self {
            least: request.min_score,
            most: usize::try_from(request.top_k).unwrap_or_default(),
            scores: Vec::new(),
            total: 0,
        }
    }

    fn take(&mut self, filters: &WorkflowSearchFilters, candidate: &Candidate) {
        let score = Score::of(filters, candidate);
        if score.value() < self.least {
            return;
        }
        self.total += 1;
        let not_worse = |(other, _): &(Score, _)| other.points() >= score.points();
        let rank = self.scores.partition_point(not_worse);
        self.scores.insert(rank, (score, candidate.workflow_id));
        self.scores.truncate(self.most);
    }

    fn ids(&self) -> Vec<Uuid> {
        self.scores.iter().map(|(_, id)| *id).collect()
    }

    /// The scores with what was found of their versions, in the same order.
    fn with(self, found: Vec<Found>) -> Ranked {
        let mut scores = self.scores.into_iter();
        let best = found.into_iter().filter_map(|found| {
            let (score, _) = scores.find(|(_, id)| *id == found.workflow_id)?;
            Some((score, found))
        });
        Ranked {
            best: best.collect(),
            total: self.total,
        }
    }
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

fn result(score: Score, candidate: Found, rank: usize) -> WorkflowSearchResult {
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
