-- Data Storage reads success rates and incidents from the action traces.
-- requires: resource_action_traces_partitions
-- provides: table resource_action_traces

DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') THEN
        GRANT SELECT ON resource_action_traces TO datastorage_app;
    END IF;
END
$grants$;
