DROP TABLE IF EXISTS remediation_workflow_catalog;
