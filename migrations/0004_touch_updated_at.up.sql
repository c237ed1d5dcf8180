-- Trigger function of every table with an updated_at column.
-- provides: function touch_updated_at

CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$function$;

COMMENT ON FUNCTION touch_updated_at IS 'Trigger function: an updated row''s updated_at is the time of its transaction';
