-- Workflows that remediations can choose, one row per version.
-- requires: touch_updated_at
-- provides: table remediation_workflow_catalog

CREATE TABLE IF NOT EXISTS remediation_workflow_catalog (
    workflow_id uuid NOT NULL DEFAULT gen_random_uuid(),
    workflow_name varchar(255) NOT NULL,
    version varchar(50) NOT NULL,
    name varchar(255) NOT NULL,
    description text NOT NULL,
    owner varchar(255),
    maintainer varchar(255),
    content text NOT NULL,
    content_hash varchar(64) NOT NULL,
    labels jsonb NOT NULL DEFAULT '{}',
    custom_labels jsonb NOT NULL DEFAULT '{}',
    detected_labels jsonb NOT NULL DEFAULT '{}',
    parameters jsonb,
    execution_engine varchar(50) NOT NULL DEFAULT 'tekton',
    container_image text,
    container_digest varchar(71),
    status varchar(20) NOT NULL DEFAULT 'active',
    status_reason text,
    disabled_at timestamptz,
    disabled_by varchar(255),
    disabled_reason text,
    is_latest_version boolean NOT NULL DEFAULT false,
    previous_version varchar(50),
    deprecation_notice text,
    version_notes text,
    change_summary text,
    approved_by varchar(255),
    approved_at timestamptz,
    expected_success_rate numeric(4, 3),
    expected_duration_seconds integer,
    actual_success_rate numeric(4, 3),
    total_executions integer DEFAULT 0,
    successful_executions integer DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(255),
    updated_by varchar(255),
    CONSTRAINT remediation_workflow_catalog_pkey PRIMARY KEY (workflow_id),
    CONSTRAINT uq_workflow_name_version UNIQUE (workflow_name, version),
    CONSTRAINT remediation_workflow_catalog_status_check CHECK (status IN ('active', 'disabled', 'deprecated', 'archived')),
    CONSTRAINT remediation_workflow_catalog_expected_rate_check CHECK (expected_success_rate BETWEEN 0 AND 1),
    CONSTRAINT remediation_workflow_catalog_actual_rate_check CHECK (actual_success_rate BETWEEN 0 AND 1),
    CONSTRAINT remediation_workflow_catalog_executions_check CHECK (total_executions >= 0),
    CONSTRAINT remediation_workflow_catalog_successes_check CHECK (successful_executions BETWEEN 0 AND total_executions)
);

CREATE UNIQUE INDEX IF NOT EXISTS idx_workflow_catalog_latest ON remediation_workflow_catalog (workflow_name) WHERE is_latest_version;
CREATE INDEX IF NOT EXISTS idx_workflow_catalog_status ON remediation_workflow_catalog (status, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_workflow_catalog_labels ON remediation_workflow_catalog USING gin (labels);

COMMENT ON TABLE remediation_workflow_catalog IS 'Workflows that remediations can choose, a row for each version';
COMMENT ON COLUMN remediation_workflow_catalog.is_latest_version IS 'True for one version of each name at most';
COMMENT ON COLUMN remediation_workflow_catalog.labels IS 'What a search must match: signal_type, severity, environment, component, priority';
COMMENT ON INDEX idx_workflow_catalog_latest IS 'One latest version of each name';
COMMENT ON INDEX idx_workflow_catalog_status IS 'The list of versions in one status, newest first';
COMMENT ON INDEX idx_workflow_catalog_labels IS 'The containment that a search asks for';

CREATE OR REPLACE TRIGGER trg_remediation_workflow_catalog_updated_at
    BEFORE UPDATE ON remediation_workflow_catalog
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') THEN
        GRANT SELECT, INSERT, UPDATE ON remediation_workflow_catalog TO datastorage_app;
    END IF;
END
$grants$;
