-- Assessments of actions that are due, under way or done. trace_id is the action's id; the partitioned table of traces has no
-- unique key on it alone, so nothing refers to it by a foreign key.
-- provides: table action_assessments

CREATE TABLE IF NOT EXISTS action_assessments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    trace_id varchar(255) NOT NULL,
    action_type varchar(100) NOT NULL,
    context_hash varchar(64) NOT NULL,
    signal_name varchar(255) NOT NULL,
    namespace varchar(255) NOT NULL,
    resource_name varchar(255) NOT NULL,
    executed_at timestamptz NOT NULL,
    scheduled_for timestamptz NOT NULL DEFAULT now() + interval '5 minutes',
    status varchar(50) NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    CONSTRAINT action_assessments_trace_id_key UNIQUE (trace_id),
    CONSTRAINT action_assessments_status_check CHECK (status IN ('pending', 'processing', 'completed', 'failed'))
);

CREATE INDEX IF NOT EXISTS idx_action_assessments_due ON action_assessments (scheduled_for) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS idx_action_assessments_context ON action_assessments (action_type, context_hash);

COMMENT ON TABLE action_assessments IS 'Assessments of actions that are due, under way or done';
COMMENT ON INDEX idx_action_assessments_due IS 'What is due next';
COMMENT ON INDEX idx_action_assessments_context IS 'The assessments of an action type in a context';
