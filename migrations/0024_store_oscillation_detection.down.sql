DROP FUNCTION IF EXISTS store_oscillation_detection(bigint, varchar, varchar, varchar, numeric, integer, integer, jsonb, varchar);
