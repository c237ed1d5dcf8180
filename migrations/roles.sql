-- The role that Data Storage works as. Roles belong to the whole server, so this runs in one fixed database and is never undone.
DO $role$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') THEN
        CREATE ROLE datastorage_app NOLOGIN;
    END IF;
END
$role$;
