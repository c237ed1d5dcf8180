-- Per resource: how its actions are kept and when they are analysed.
-- requires: resource_references, touch_updated_at
-- provides: table action_histories

CREATE TABLE IF NOT EXISTS action_histories (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource_id bigint NOT NULL,
    max_actions integer DEFAULT 1000,
    max_age_days integer DEFAULT 30,
    compaction_strategy varchar(20) DEFAULT 'pattern-aware',
    oscillation_window_minutes integer DEFAULT 120,
    effectiveness_threshold numeric(3, 2) DEFAULT 0.70,
    pattern_min_occurrences integer DEFAULT 3,
    total_actions integer DEFAULT 0,
    last_action_at timestamptz,
    last_analysis_at timestamptz,
    next_analysis_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT action_histories_resource_id_key UNIQUE (resource_id),
    CONSTRAINT action_histories_resource_id_fkey FOREIGN KEY (resource_id) REFERENCES resource_references (id) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS idx_action_histories_last_action ON action_histories (last_action_at);
CREATE INDEX IF NOT EXISTS idx_action_histories_next_analysis ON action_histories (next_analysis_at);

COMMENT ON TABLE action_histories IS 'Per resource: how its actions are kept and when they are analysed';
COMMENT ON INDEX idx_action_histories_last_action IS 'Resources by their last action';
COMMENT ON INDEX idx_action_histories_next_analysis IS 'Analyses that are due';

CREATE OR REPLACE TRIGGER trg_action_histories_updated_at
    BEFORE UPDATE ON action_histories
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
