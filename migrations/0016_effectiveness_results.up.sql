-- Outcome of one assessment, with its scores from 0 to 1.
-- provides: table effectiveness_results

CREATE TABLE IF NOT EXISTS effectiveness_results (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    trace_id varchar(255) NOT NULL,
    action_type varchar(100) NOT NULL,
    overall_score double precision NOT NULL,
    signal_resolved boolean NOT NULL,
    metric_delta jsonb,
    side_effects integer DEFAULT 0,
    confidence double precision NOT NULL,
    assessed_at timestamptz NOT NULL DEFAULT now(),
    next_review_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT effectiveness_results_trace_id_key UNIQUE (trace_id),
    CONSTRAINT effectiveness_results_overall_score_check CHECK (overall_score BETWEEN 0 AND 1),
    CONSTRAINT effectiveness_results_confidence_check CHECK (confidence BETWEEN 0 AND 1)
);

CREATE INDEX IF NOT EXISTS idx_effectiveness_results_action ON effectiveness_results (action_type, assessed_at DESC);

COMMENT ON TABLE effectiveness_results IS 'Outcome of one assessment, with its scores from 0 to 1';
COMMENT ON INDEX idx_effectiveness_results_action IS 'The outcomes of one action type, newest first';
