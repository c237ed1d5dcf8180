DROP TABLE IF EXISTS resource_action_traces;
