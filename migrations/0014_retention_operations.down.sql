DROP TABLE IF EXISTS retention_operations;
