-- A search inside event_data (`event_data @> …`). Of the five indexes that audit_events always has none can do it, and a GIN index
-- over every key and value makes each event dearer to store: only who asks for the group audit-search has it.
-- requires: audit_events
-- provides: index idx_audit_events_event_data_gin

CREATE INDEX IF NOT EXISTS idx_audit_events_event_data_gin ON audit_events USING gin (event_data);

COMMENT ON INDEX idx_audit_events_event_data_gin IS 'Events whose event_data holds given keys and values';
