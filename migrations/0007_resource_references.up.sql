-- Kubernetes resources that actions were taken on.
-- provides: table resource_references

CREATE TABLE IF NOT EXISTS resource_references (
    id bigserial PRIMARY KEY,
    resource_uid varchar(36) NOT NULL,
    api_version varchar(100) NOT NULL,
    kind varchar(100) NOT NULL,
    name varchar(253) NOT NULL,
    namespace varchar(63),
    created_at timestamptz DEFAULT now(),
    deleted_at timestamptz,
    last_seen timestamptz DEFAULT now(),
    CONSTRAINT resource_references_resource_uid_key UNIQUE (resource_uid),
    CONSTRAINT resource_references_namespace_kind_name_key UNIQUE (namespace, kind, name)
);

CREATE INDEX IF NOT EXISTS idx_resource_references_kind ON resource_references (kind);
CREATE INDEX IF NOT EXISTS idx_resource_references_last_seen ON resource_references (last_seen);
