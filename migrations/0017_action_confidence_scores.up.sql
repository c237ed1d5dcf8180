-- How far an action type is trusted in a context.
-- requires: touch_updated_at
-- provides: table action_confidence_scores

CREATE TABLE IF NOT EXISTS action_confidence_scores (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    action_type varchar(100) NOT NULL,
    context_hash varchar(64) NOT NULL,
    base_confidence double precision NOT NULL,
    adjusted_confidence double precision NOT NULL,
    sample_size integer NOT NULL DEFAULT 0,
    adjustment_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT action_confidence_scores_context_key UNIQUE (action_type, context_hash),
    CONSTRAINT action_confidence_scores_base_check CHECK (base_confidence BETWEEN 0 AND 1),
    CONSTRAINT action_confidence_scores_adjusted_check CHECK (adjusted_confidence BETWEEN 0 AND 1)
);

COMMENT ON TABLE action_confidence_scores IS 'How far an action type is trusted in a context';

CREATE OR REPLACE TRIGGER trg_action_confidence_scores_updated_at
    BEFORE UPDATE ON action_confidence_scores
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

INSERT INTO action_confidence_scores (action_type, context_hash, base_confidence, adjusted_confidence, adjustment_reason)
VALUES
    ('scale_deployment', 'default', 0.8, 0.8, 'starting value'),
    ('restart_pod', 'default', 0.7, 0.7, 'starting value'),
    ('increase_resources', 'default', 0.75, 0.75, 'starting value'),
    ('rollback_deployment', 'default', 0.85, 0.85, 'starting value')
ON CONFLICT (action_type, context_hash) DO NOTHING;
