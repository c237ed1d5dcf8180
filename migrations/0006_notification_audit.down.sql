DROP TABLE IF EXISTS notification_audit;
