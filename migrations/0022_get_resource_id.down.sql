DROP FUNCTION IF EXISTS analyze_action_oscillation(varchar, varchar, varchar, integer);
DROP FUNCTION IF EXISTS get_action_effectiveness(varchar, varchar, varchar, varchar, timestamptz, timestamptz);
DROP FUNCTION IF EXISTS get_recent_actions(integer, varchar, varchar);
DROP FUNCTION IF EXISTS get_resource_actions_base(varchar, varchar, varchar, integer);
DROP FUNCTION IF EXISTS get_resource_id(varchar, varchar, varchar);
