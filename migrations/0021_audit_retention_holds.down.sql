DROP FUNCTION IF EXISTS retire_audit_events_partition(text, date);
DROP FUNCTION IF EXISTS audit_events_retention(date);
DROP TABLE IF EXISTS audit_retention_holds;
