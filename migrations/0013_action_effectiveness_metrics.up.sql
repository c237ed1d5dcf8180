-- Effectiveness of an action type in a scope over a period.
-- provides: table action_effectiveness_metrics

CREATE TABLE IF NOT EXISTS action_effectiveness_metrics (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope_type varchar(50) NOT NULL,
    scope_value varchar(200),
    metric_period varchar(20) NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    action_type varchar(50) NOT NULL,
    sample_size integer NOT NULL DEFAULT 0,
    average_score numeric(4, 3),
    median_score numeric(4, 3),
    std_deviation numeric(4, 3),
    confidence_interval_lower numeric(4, 3),
    confidence_interval_upper numeric(4, 3),
    trend_direction varchar(20),
    trend_confidence numeric(4, 3),
    statistical_significance numeric(4, 3),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT action_effectiveness_metrics_scope_key
        UNIQUE NULLS NOT DISTINCT (scope_type, scope_value, metric_period, period_start, action_type)
);

CREATE INDEX IF NOT EXISTS idx_action_effectiveness_metrics_action ON action_effectiveness_metrics (action_type, period_start DESC);

COMMENT ON TABLE action_effectiveness_metrics IS 'Effectiveness of an action type in a scope over a period';
COMMENT ON COLUMN action_effectiveness_metrics.scope_value IS 'Null for the scope that holds everything';
COMMENT ON INDEX idx_action_effectiveness_metrics_action IS 'The periods of one action type, newest first';
