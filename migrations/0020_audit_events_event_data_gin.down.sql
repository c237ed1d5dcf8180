DROP INDEX IF EXISTS idx_audit_events_event_data_gin;
