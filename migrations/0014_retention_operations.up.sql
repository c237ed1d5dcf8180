-- What was removed from an action history, and why.
-- requires: action_histories
-- provides: table retention_operations

CREATE TABLE IF NOT EXISTS retention_operations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action_history_id bigint NOT NULL,
    operation_type varchar(30) NOT NULL,
    strategy_used varchar(50) NOT NULL,
    records_before integer NOT NULL,
    records_after integer NOT NULL,
    records_deleted integer NOT NULL,
    records_archived integer DEFAULT 0,
    retention_criteria jsonb,
    preserved_criteria jsonb,
    operation_start timestamptz NOT NULL DEFAULT now(),
    operation_end timestamptz,
    operation_duration_ms integer,
    operation_status varchar(20) DEFAULT 'running',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retention_operations_action_history_id_fkey
        FOREIGN KEY (action_history_id) REFERENCES action_histories (id) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS idx_retention_operations_history ON retention_operations (action_history_id, operation_start DESC);

COMMENT ON TABLE retention_operations IS 'What was removed from an action history, and why';
COMMENT ON INDEX idx_retention_operations_history IS 'The removals from one history, newest first';
