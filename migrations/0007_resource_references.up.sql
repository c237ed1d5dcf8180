-- Kubernetes resources that actions were taken on.
-- provides: table resource_references

CREATE TABLE IF NOT EXISTS resource_references (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource_uid varchar(36) NOT NULL,
    api_version varchar(100) NOT NULL,
    kind varchar(100) NOT NULL,
    name varchar(253) NOT NULL,
    namespace varchar(63),
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    last_seen timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT resource_references_resource_uid_key UNIQUE (resource_uid),
    CONSTRAINT resource_references_namespace_kind_name_key UNIQUE NULLS NOT DISTINCT (namespace, kind, name)
);

CREATE INDEX IF NOT EXISTS idx_resource_references_kind ON resource_references (kind);
CREATE INDEX IF NOT EXISTS idx_resource_references_last_seen ON resource_references (last_seen);

COMMENT ON TABLE resource_references IS 'Kubernetes resources that actions were taken on';
COMMENT ON COLUMN resource_references.namespace IS 'Null for what belongs to the whole cluster';
COMMENT ON INDEX idx_resource_references_kind IS 'The resources of one kind';
COMMENT ON INDEX idx_resource_references_last_seen IS 'Resources that were not seen for long';
