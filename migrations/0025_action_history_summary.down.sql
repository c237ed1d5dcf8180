DROP VIEW IF EXISTS incident_summary_view;
DROP VIEW IF EXISTS action_history_summary;
