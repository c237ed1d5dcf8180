DROP FUNCTION IF EXISTS detect_cascading_failures(varchar, varchar, varchar, integer);
DROP FUNCTION IF EXISTS detect_ineffective_loops(varchar, varchar, varchar, integer);
DROP FUNCTION IF EXISTS detect_resource_thrashing(varchar, varchar, varchar, integer);
DROP FUNCTION IF EXISTS detect_scale_oscillation(varchar, varchar, varchar, integer);
