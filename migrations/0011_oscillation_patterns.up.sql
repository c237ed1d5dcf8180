-- What counts as an oscillation of actions on a resource, and how to prevent it.
-- requires: touch_updated_at
-- provides: table oscillation_patterns

CREATE TABLE IF NOT EXISTS oscillation_patterns (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pattern_type varchar(50) NOT NULL,
    pattern_name varchar(100) NOT NULL,
    description text,
    min_occurrences integer NOT NULL DEFAULT 3,
    time_window_minutes integer NOT NULL DEFAULT 120,
    action_sequence jsonb,
    threshold_config jsonb,
    prevention_strategy varchar(50) NOT NULL,
    prevention_parameters jsonb,
    alerting_enabled boolean DEFAULT true,
    alert_severity varchar(20) DEFAULT 'warning',
    total_detections integer DEFAULT 0,
    prevention_success_rate numeric(4, 3),
    false_positive_rate numeric(4, 3),
    active boolean DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oscillation_patterns_pattern_name_key UNIQUE (pattern_name)
);

CREATE INDEX IF NOT EXISTS idx_oscillation_patterns_type ON oscillation_patterns (pattern_type) WHERE active;

COMMENT ON TABLE oscillation_patterns IS 'What counts as an oscillation of actions on a resource, and how to prevent it';
COMMENT ON INDEX idx_oscillation_patterns_type IS 'The active patterns of one type';

CREATE OR REPLACE TRIGGER trg_oscillation_patterns_updated_at
    BEFORE UPDATE ON oscillation_patterns
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

INSERT INTO oscillation_patterns (pattern_type, pattern_name, description, min_occurrences, time_window_minutes, prevention_strategy)
VALUES
    ('scale_oscillation', 'Rapid scale oscillation', 'Scaling up and down again within two hours', 4, 120, 'block_action'),
    ('resource_thrashing', 'Resource limit thrashing', 'Limits raised and lowered in turn', 3, 60, 'escalate_human'),
    ('ineffective_loop', 'Ineffective action loop', 'The same action again although it did not help', 5, 240, 'alternative_action'),
    ('cascading_failure', 'Cascading failure', 'An action followed by more signals than it answered', 3, 30, 'block_action')
ON CONFLICT (pattern_name) DO NOTHING;
