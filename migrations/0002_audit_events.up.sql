-- Every audit event of every service. Writers give event_date, the UTC date of event_timestamp: it is the partition key, which
-- PostgreSQL can neither generate nor take from a trigger.
-- provides: table audit_events

CREATE TABLE IF NOT EXISTS audit_events (
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    event_version varchar(10) NOT NULL DEFAULT '1.0',
    event_timestamp timestamptz NOT NULL DEFAULT now(),
    event_date date NOT NULL,
    event_type varchar(100) NOT NULL,
    event_category varchar(50) NOT NULL,
    event_action varchar(50) NOT NULL,
    event_outcome varchar(20) NOT NULL,
    actor_type varchar(50) NOT NULL,
    actor_id varchar(255) NOT NULL,
    actor_ip inet,
    resource_type varchar(100) NOT NULL,
    resource_id varchar(255) NOT NULL,
    resource_name varchar(255),
    correlation_id varchar(255) NOT NULL,
    parent_event_id uuid,
    parent_event_date date,
    trace_id varchar(255),
    span_id varchar(255),
    namespace varchar(253),
    cluster_name varchar(255),
    event_data jsonb NOT NULL,
    event_metadata jsonb,
    severity varchar(20),
    duration_ms integer,
    error_code varchar(50),
    error_message text,
    retention_days integer DEFAULT 2555,
    is_sensitive boolean DEFAULT false,
    PRIMARY KEY (event_id, event_date),
    CONSTRAINT audit_events_event_date_check CHECK (event_date = (event_timestamp AT TIME ZONE 'UTC')::date)
) PARTITION BY RANGE (event_date);

CREATE INDEX IF NOT EXISTS idx_audit_events_correlation ON audit_events (correlation_id, event_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_audit_events_event_type ON audit_events (event_type, event_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_audit_events_timestamp ON audit_events (event_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_audit_events_resource ON audit_events (resource_type, resource_id, event_timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_audit_events_actor ON audit_events (actor_type, actor_id, event_timestamp DESC);

COMMENT ON TABLE audit_events IS 'Every audit event of every service, append-only; a partition holds one UTC month';
COMMENT ON COLUMN audit_events.event_date IS 'UTC date of event_timestamp, given by the writer: the partition key';
COMMENT ON COLUMN audit_events.event_version IS 'Version of the event''s format; the API calls it version';
COMMENT ON COLUMN audit_events.correlation_id IS 'What belongs to one remediation, across services';
COMMENT ON COLUMN audit_events.parent_event_date IS 'event_date of the parent; without it nobody can look for the parent in one partition';
COMMENT ON COLUMN audit_events.event_data IS 'What the service has to say, an object of its own making';
COMMENT ON COLUMN audit_events.retention_days IS 'How long the event is kept, counted from event_date; null is for ever';
COMMENT ON INDEX idx_audit_events_correlation IS 'The events of one remediation, newest first';
COMMENT ON INDEX idx_audit_events_event_type IS 'The events of one type, newest first';
COMMENT ON INDEX idx_audit_events_timestamp IS 'All events, newest first';
COMMENT ON INDEX idx_audit_events_resource IS 'What happened to one resource, newest first';
COMMENT ON INDEX idx_audit_events_actor IS 'What one actor did, newest first';

-- Append-only for the application: no UPDATE, no DELETE.
DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') THEN
        GRANT SELECT, INSERT ON audit_events TO datastorage_app;
    END IF;
END
$grants$;
