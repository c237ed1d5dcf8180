-- Every outcome of an action in a context, for learning.
-- provides: table action_outcomes

CREATE TABLE IF NOT EXISTS action_outcomes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    trace_id varchar(255) NOT NULL,
    action_type varchar(100) NOT NULL,
    context_hash varchar(64) NOT NULL,
    signal_name varchar(255) NOT NULL,
    success boolean NOT NULL,
    effectiveness_score double precision NOT NULL,
    executed_at timestamptz NOT NULL,
    assessed_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT action_outcomes_effectiveness_score_check CHECK (effectiveness_score BETWEEN 0 AND 1)
);

CREATE INDEX IF NOT EXISTS idx_action_outcomes_context ON action_outcomes (action_type, context_hash, executed_at DESC);
CREATE INDEX IF NOT EXISTS idx_action_outcomes_trace ON action_outcomes (trace_id);

COMMENT ON TABLE action_outcomes IS 'Every outcome of an action in a context, for learning';
COMMENT ON INDEX idx_action_outcomes_context IS 'The outcomes of an action type in a context, newest first';
COMMENT ON INDEX idx_action_outcomes_trace IS 'The outcome of one action';
