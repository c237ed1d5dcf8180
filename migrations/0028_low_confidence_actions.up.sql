-- Actions that are trusted too little to be taken without a look.
-- requires: action_confidence_scores, action_outcomes
-- provides: view low_confidence_actions

CREATE OR REPLACE VIEW low_confidence_actions AS
SELECT s.action_type, s.context_hash, s.adjusted_confidence, s.adjustment_reason, s.sample_size, s.updated_at,
       coalesce(week.success_rate, 0) AS recent_success_rate, week.samples AS recent_samples
FROM action_confidence_scores s
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.success) / nullif(count(*), 0)::numeric AS success_rate, count(*) AS samples
    FROM action_outcomes o
    WHERE o.action_type = s.action_type AND o.context_hash = s.context_hash
      AND o.executed_at > now() - interval '7 days'
) AS week
WHERE s.adjusted_confidence < 0.5
ORDER BY s.adjusted_confidence, s.updated_at DESC;
COMMENT ON VIEW low_confidence_actions IS 'Types of actions that are trusted less than half, with their outcomes of the last seven days';
