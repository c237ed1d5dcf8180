-- Every notification that was handed to a channel, and what became of it.
-- requires: touch_updated_at
-- provides: table notification_audit

CREATE TABLE IF NOT EXISTS notification_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    remediation_id varchar(255) NOT NULL,
    notification_id varchar(255) NOT NULL,
    recipient varchar(255) NOT NULL,
    channel varchar(50) NOT NULL,
    message_summary text NOT NULL,
    status varchar(50) NOT NULL,
    sent_at timestamptz NOT NULL,
    delivery_status text,
    error_message text,
    escalation_level integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT notification_audit_notification_id_key UNIQUE (notification_id),
    CONSTRAINT notification_audit_channel_check CHECK (channel IN ('email', 'slack', 'pagerduty', 'sms')),
    CONSTRAINT notification_audit_status_check CHECK (status IN ('sent', 'failed', 'acknowledged', 'escalated'))
);

CREATE INDEX IF NOT EXISTS idx_notification_audit_remediation_id ON notification_audit (remediation_id);
CREATE INDEX IF NOT EXISTS idx_notification_audit_recipient ON notification_audit (recipient);
CREATE INDEX IF NOT EXISTS idx_notification_audit_created_at ON notification_audit (created_at DESC);

COMMENT ON TABLE notification_audit IS 'Every notification that was handed to a channel, and what became of it; append-only';
COMMENT ON COLUMN notification_audit.notification_id IS 'The sender''s own id: a repeat is stored once';
COMMENT ON INDEX idx_notification_audit_remediation_id IS 'The notifications of one remediation';
COMMENT ON INDEX idx_notification_audit_recipient IS 'The notifications to one recipient';
COMMENT ON INDEX idx_notification_audit_created_at IS 'All notifications, newest first';

CREATE OR REPLACE TRIGGER trg_notification_audit_updated_at
    BEFORE UPDATE ON notification_audit
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- Append-only for the application: no UPDATE, no DELETE. An identity column needs no right to its sequence.
DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') THEN
        GRANT SELECT, INSERT ON notification_audit TO datastorage_app;
    END IF;
END
$grants$;
