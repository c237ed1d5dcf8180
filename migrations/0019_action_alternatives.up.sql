-- What worked instead, where an action failed in a context.
-- requires: touch_updated_at
-- provides: table action_alternatives

CREATE TABLE IF NOT EXISTS action_alternatives (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    failed_action_type varchar(100) NOT NULL,
    context_hash varchar(64) NOT NULL,
    alternative_action_type varchar(100) NOT NULL,
    success_rate double precision NOT NULL,
    sample_size integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT action_alternatives_context_key UNIQUE (failed_action_type, context_hash, alternative_action_type),
    CONSTRAINT action_alternatives_success_rate_check CHECK (success_rate BETWEEN 0 AND 1)
);

COMMENT ON TABLE action_alternatives IS 'What worked instead, where an action failed in a context';

CREATE OR REPLACE TRIGGER trg_action_alternatives_updated_at
    BEFORE UPDATE ON action_alternatives
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
