-- Every action taken on a resource: what asked for it, what was decided, what happened and how well it worked.
-- requires: action_histories, touch_updated_at
-- provides: table resource_action_traces

CREATE TABLE IF NOT EXISTS resource_action_traces (
    id bigint GENERATED ALWAYS AS IDENTITY,
    action_history_id bigint NOT NULL,
    action_id varchar(64) NOT NULL,
    correlation_id varchar(64),
    action_timestamp timestamptz NOT NULL DEFAULT now(),
    execution_start_time timestamptz,
    execution_end_time timestamptz,
    execution_duration_ms integer,
    signal_name varchar(200) NOT NULL,
    signal_severity varchar(20) NOT NULL,
    signal_labels jsonb,
    signal_annotations jsonb,
    signal_firing_time timestamptz,
    model_used varchar(100) NOT NULL,
    routing_tier varchar(20),
    model_confidence numeric(4, 3) NOT NULL,
    model_reasoning text,
    alternative_actions jsonb,
    action_type varchar(50) NOT NULL,
    action_parameters jsonb,
    resource_state_before jsonb,
    resource_state_after jsonb,
    execution_status varchar(20) DEFAULT 'pending',
    execution_error text,
    kubernetes_operations jsonb,
    effectiveness_score numeric(4, 3),
    effectiveness_criteria jsonb,
    effectiveness_assessed_at timestamptz,
    effectiveness_assessment_method varchar(20),
    effectiveness_notes text,
    effectiveness_assessment_due timestamptz,
    follow_up_actions jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    incident_type varchar(100),
    alert_name varchar(255),
    incident_severity varchar(20),
    workflow_id varchar(64),
    workflow_version varchar(20),
    workflow_step_number integer,
    workflow_execution_id varchar(64),
    ai_selected_workflow boolean DEFAULT false,
    ai_chained_workflows boolean DEFAULT false,
    ai_manual_escalation boolean DEFAULT false,
    ai_workflow_customization jsonb,
    CONSTRAINT resource_action_traces_pkey PRIMARY KEY (id, action_timestamp),
    CONSTRAINT resource_action_traces_action_id_key UNIQUE (action_id, action_timestamp),
    CONSTRAINT resource_action_traces_action_history_id_fkey
        FOREIGN KEY (action_history_id) REFERENCES action_histories (id) ON DELETE CASCADE
) PARTITION BY RANGE (action_timestamp);

CREATE INDEX IF NOT EXISTS idx_rat_action_history ON resource_action_traces (action_history_id, action_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_rat_timestamp ON resource_action_traces (action_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_rat_signal_name ON resource_action_traces (signal_name, action_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_rat_correlation_id ON resource_action_traces (correlation_id);
CREATE INDEX IF NOT EXISTS idx_rat_effectiveness_due ON resource_action_traces (effectiveness_assessment_due)
    WHERE effectiveness_assessment_due IS NOT NULL AND effectiveness_score IS NULL;
CREATE INDEX IF NOT EXISTS idx_rat_incident_type ON resource_action_traces (incident_type, execution_status, action_timestamp DESC)
    WHERE incident_type IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_rat_workflow ON resource_action_traces (workflow_id, workflow_version, execution_status, action_timestamp DESC)
    WHERE workflow_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_rat_workflow_execution ON resource_action_traces (workflow_execution_id, workflow_step_number)
    WHERE workflow_execution_id IS NOT NULL;

COMMENT ON TABLE resource_action_traces IS 'Every action taken on a resource, from what asked for it to how well it worked; a partition holds one UTC month';
COMMENT ON COLUMN resource_action_traces.signal_name IS 'The signal that the action answered';
COMMENT ON COLUMN resource_action_traces.alert_name IS 'Name of the incident''s alert, beside the signal that the action answered';
COMMENT ON COLUMN resource_action_traces.effectiveness_score IS 'How well the action worked, from 0 to 1; null until it is assessed';
COMMENT ON INDEX idx_rat_action_history IS 'The actions on one resource, newest first';
COMMENT ON INDEX idx_rat_timestamp IS 'All actions, newest first';
COMMENT ON INDEX idx_rat_signal_name IS 'The actions that answered one signal, newest first';
COMMENT ON INDEX idx_rat_correlation_id IS 'The actions of one remediation';
COMMENT ON INDEX idx_rat_effectiveness_due IS 'Actions that wait for their assessment';
COMMENT ON INDEX idx_rat_incident_type IS 'Success rates by type of incident';
COMMENT ON INDEX idx_rat_workflow IS 'Success rates by workflow and version';
COMMENT ON INDEX idx_rat_workflow_execution IS 'The steps of one execution';

CREATE OR REPLACE TRIGGER trg_resource_action_traces_updated_at
    BEFORE UPDATE ON resource_action_traces
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
