DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') AND to_regclass('resource_action_traces') IS NOT NULL THEN
        REVOKE SELECT ON resource_action_traces FROM datastorage_app;
    END IF;
END
$grants$;
