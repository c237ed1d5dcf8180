-- The audit table of the existing Go server: nine indexes, a trigger that sets the date, a foreign key that is never enforced.
CREATE TABLE go_audit_events (
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
    FOREIGN KEY (parent_event_id, parent_event_date) REFERENCES go_audit_events (event_id, event_date) ON DELETE RESTRICT
) PARTITION BY RANGE (event_date);

CREATE INDEX ON go_audit_events (event_timestamp DESC);
CREATE INDEX ON go_audit_events (correlation_id, event_timestamp DESC);
CREATE INDEX ON go_audit_events (event_type, event_timestamp DESC);
CREATE INDEX ON go_audit_events (resource_type, resource_id, event_timestamp DESC);
CREATE INDEX ON go_audit_events (actor_type, actor_id, event_timestamp DESC);
CREATE INDEX ON go_audit_events (event_outcome, event_timestamp DESC);
CREATE INDEX ON go_audit_events (event_date);
CREATE INDEX ON go_audit_events USING gin (event_data);

CREATE FUNCTION go_set_audit_event_date() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.event_date := NEW.event_timestamp::date;
    RETURN NEW;
END
$$;
CREATE TRIGGER go_set_date BEFORE INSERT ON go_audit_events FOR EACH ROW EXECUTE FUNCTION go_set_audit_event_date();

SET timezone = 'UTC';
DO $$
BEGIN
    EXECUTE format(
        'CREATE TABLE go_audit_events_now PARTITION OF go_audit_events FOR VALUES FROM (%L) TO (%L)',
        date_trunc('month', now())::date,
        (date_trunc('month', now()) + interval '1 month')::date
    );
END
$$;
