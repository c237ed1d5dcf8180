-- The ledger; {ledger} stands for its name.
-- One row per migration of a source. A reverted migration keeps its row, so that applied-and-reverted differs from never-applied.
-- applied_at is null while a migration outside a transaction is under way. step_checksums are those of its steps, or of the steps of
-- its Down while it is being reverted: the first steps_done are done, and one more was begun; empty when nothing is under way.
-- step_session is what they set in their session, as name and value in turn, for the session that goes on.
-- sequence is the order of application within a source; whoever holds the lock numbers, so that there is no sequence to make.
CREATE TABLE IF NOT EXISTS {ledger} (
    source text NOT NULL,
    id text NOT NULL,
    checksum text NOT NULL,
    sequence bigint NOT NULL,
    applied_at timestamptz,
    duration interval,
    steps_done integer NOT NULL,
    step_checksums text[] NOT NULL DEFAULT '{}',
    step_session text[] NOT NULL DEFAULT '{}',
    reverted_at timestamptz,
    tool_version text NOT NULL,
    requires text[] NOT NULL,
    down_sql text,
    PRIMARY KEY (source, id)
);
