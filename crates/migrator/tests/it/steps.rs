//! Migrations outside a transaction: cut anywhere, they go on where they were, and an invalid index is built again.

use migrator::{Config, Error, Event, apply};

use crate::{files, fresh, goose, run, value};

const INDEX: &str = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE IF NOT EXISTS more (a int);\nINSERT INTO more VALUES (1);\n\
    CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_each ON t (a);\nINSERT INTO more VALUES (2);\n";

#[tokio::test]
async fn an_index_that_a_failed_build_left_invalid_is_built_again() {
    let (database, config) = fresh().await;
    run(
        &database,
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)",
    )
    .await;
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let config = config
        .catalogue(goose(&[("1_index.sql", INDEX)]))
        .observe(move |event| drop(events.send(event.clone())));
    let error = apply(&config).await.unwrap_err();
    let Error::MigrationFailed(failure) = &error else {
        panic!("{error}")
    };
    assert_eq!((failure.line, failure.sqlstate.as_str()), (5, "23505"));
    assert_eq!(
        value(
            &database,
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass"
        )
        .await,
        "f"
    );

    run(
        &database,
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)",
    )
    .await;
    apply(&config).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass"
        )
        .await,
        "t"
    );
    // The steps before the failure ran once.
    assert_eq!(
        value(
            &database,
            "SELECT string_agg(a::text, ',' ORDER BY a) FROM more"
        )
        .await,
        "1,2"
    );
    drop(config);
    let mut repaired = false;
    while let Some(event) = seen.recv().await {
        repaired |= matches!(event, Event::Repaired { .. });
    }
    assert!(repaired);
}

/// A kill between a step's effect and its record, and in the middle of a step.
#[tokio::test]
async fn killed_after_any_step_a_run_converges_by_itself() {
    for statement in 1.. {
        let (database, config) = fresh().await;
        run(
            &database,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
        )
        .await;
        run(
            &database,
            &format!(
                "CREATE SCHEMA chaos; CREATE SEQUENCE chaos.statements;
                 CREATE FUNCTION chaos.kill() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF nextval('chaos.statements') = {statement} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                 END $$;
                 CREATE EVENT TRIGGER chaos ON ddl_command_end EXECUTE FUNCTION chaos.kill();"
            ),
        )
        .await;
        apply(&config.catalogue(goose(&[("1_index.sql", INDEX)])))
            .await
            .unwrap_or_else(|error| panic!("killed after statement {statement}: {error}"));
        assert_eq!(
            value(
                &database,
                "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass"
            )
            .await,
            "t"
        );
        assert_eq!(
            value(
                &database,
                "SELECT string_agg(a::text, ',' ORDER BY a) FROM more"
            )
            .await,
            "1,2",
            "killed after statement {statement}"
        );
        if value(&database, "SELECT last_value FROM chaos.statements")
            .await
            .parse::<u32>()
            .unwrap()
            < statement
        {
            assert!(statement > 3, "the trigger fired too seldom");
            return;
        }
    }
}

#[tokio::test]
async fn what_a_file_puts_between_begin_and_commit_is_one_step() {
    let (database, config) = fresh().await;
    let file = "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nCREATE TABLE a (i int);\nSELECT 1 / 0;\nCOMMIT;\nCREATE TABLE b (i int);\n";
    let config = config.catalogue(goose(&[("1_unit.sql", file)]));
    assert!(matches!(
        apply(&config).await,
        Err(Error::MigrationFailed(_))
    ));
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('a') IS NULL AND to_regclass('b') IS NULL"
        )
        .await,
        "t"
    );
    assert!(
        migrator::status(&Config::new(database.url(), files(&[])))
            .await
            .is_ok()
    );
}

/// One file, applied; the failure if it has one.
async fn steps(config: &Config, up: &str) -> Result<(), Error> {
    let file = format!("-- +goose NO TRANSACTION\n-- +goose Up\n{up}");
    let config = config.clone().catalogue(goose(&[("1_steps.sql", &file)]));
    apply(&config).await.map(drop)
}

/// The failure's line, cause and SQLSTATE.
fn failed(outcome: Result<(), Error>) -> (usize, String, String) {
    match outcome {
        Err(Error::MigrationFailed(failure)) => (failure.line, failure.cause, failure.sqlstate),
        Err(other) => panic!("{other}"),
        Ok(()) => panic!("it was applied"),
    }
}

#[tokio::test]
async fn what_commits_by_itself_is_sent_as_it_is() {
    let (database, config) = fresh().await;
    let up = "CREATE TABLE t (a int);\nCREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$;\nCALL p();\n\
              DO $$ BEGIN FOR i IN 2..4 LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END $$;\n\
              REINDEX SCHEMA public;\nDISCARD ALL;\nVACUUM t;\nINSERT INTO t VALUES (5);\n";
    steps(&config, up).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT string_agg(a::text, ',' ORDER BY a) FROM t"
        )
        .await,
        "1,2,3,4,5"
    );
    assert_eq!(
        value(
            &database,
            "SELECT applied_at IS NOT NULL AND step_checksums = '{}' FROM schema_ledger"
        )
        .await,
        "t"
    );
}

#[tokio::test]
async fn a_rollback_of_the_file_undoes_what_it_says() {
    let (database, config) = fresh().await;
    steps(
        &config,
        "BEGIN;\nCREATE TABLE t (a int);\nROLLBACK;\nCREATE TABLE u (a int);\n",
    )
    .await
    .unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('t') IS NULL AND to_regclass('u') IS NOT NULL"
        )
        .await,
        "t"
    );
    let error = steps(
        &config,
        "BEGIN;\nCREATE TABLE t (a int);\nROLLBACK;\nCREATE TABLE u (a int, b int);\n",
    )
    .await;
    assert!(matches!(error, Err(Error::ChecksumMismatch { .. })));
}

#[tokio::test]
async fn a_step_that_failed_can_be_corrected_and_a_done_one_cannot() {
    let (database, config) = fresh().await;
    let text = |column: &str| {
        format!("CREATE TABLE t (a int);\nCREATE INDEX CONCURRENTLY i ON t ({column});\n")
    };
    let (line, _, sqlstate) = failed(steps(&config, &text("b")).await);
    assert_eq!((line, sqlstate.as_str()), (4, "42703"));
    let error = steps(&config, &text("a").replace("(a int)", "(a int, c int)"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::StepChanged {
                step: 1,
                done: 1,
                ..
            }
        ),
        "{error}"
    );
    steps(&config, &text("a")).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
        )
        .await,
        "t"
    );
    steps(&config, &text("a")).await.unwrap();
}

#[tokio::test]
async fn an_invalid_index_is_found_in_its_table_s_schema_whatever_its_name() {
    for index in [
        "CONCURRENTLY IF NOT EXISTS \"I 2\"",
        "CONCURRENTLY i2",
        "CONCURRENTLY",
    ] {
        let (database, config) = fresh().await;
        run(
            &database,
            "CREATE SCHEMA app; CREATE TABLE app.t (a int); INSERT INTO app.t VALUES (1), (1)",
        )
        .await;
        let up = format!("SET search_path = app;\nCREATE UNIQUE INDEX {index} ON t (a);\n");
        assert_eq!(failed(steps(&config, &up).await).2, "23505", "{index}");
        run(
            &database,
            "DELETE FROM app.t WHERE ctid = (SELECT min(ctid) FROM app.t)",
        )
        .await;
        steps(&config, &up)
            .await
            .unwrap_or_else(|error| panic!("{index}: {error}"));
        let indexes = "SELECT string_agg(indrelid::regclass || ' ' || indisvalid, ',') FROM pg_index WHERE indrelid = 'app.t'::regclass";
        assert_eq!(value(&database, indexes).await, "app.t true", "{index}");
    }
}

#[tokio::test]
async fn an_index_of_that_name_on_another_table_is_not_taken_for_the_new_one() {
    let (database, config) = fresh().await;
    run(
        &database,
        "CREATE TABLE t (a int); CREATE TABLE other (a int); CREATE INDEX i ON other (a)",
    )
    .await;
    let (line, cause, _) = failed(
        steps(
            &config,
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);\n",
        )
        .await,
    );
    assert_eq!(
        (line, cause.as_str()),
        (
            3,
            "index i is not there; another relation of that name is in the way"
        )
    );
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('i') IS NOT NULL AND applied_at IS NULL FROM schema_ledger"
        )
        .await,
        "t"
    );
}

#[tokio::test]
async fn an_index_that_is_not_there_is_not_dropped() {
    let (database, config) = fresh().await;
    run(
        &database,
        "CREATE TABLE t (a int); CREATE INDEX real_idx ON t (a)",
    )
    .await;
    assert_eq!(
        failed(steps(&config, "DROP INDEX CONCURRENTLY reel_idx;\n").await).2,
        "42704"
    );
    steps(&config, "DROP INDEX CONCURRENTLY real_idx;\n")
        .await
        .unwrap();
    assert_eq!(
        value(&database, "SELECT to_regclass('real_idx') IS NULL").await,
        "t"
    );
}

/// Ends the session of a run in the middle of a statement, once `condition` is seen, while `blocker` holds the statement up.
async fn cut(
    database: &crate::Database,
    config: &Config,
    up: &str,
    blocker: &str,
    condition: &str,
) {
    let holder = database.connect().await;
    holder.batch_execute(blocker).await.expect("it is held");
    let short = config.clone().deadline(std::time::Duration::from_secs(8));
    let file = format!("-- +goose NO TRANSACTION\n-- +goose Up\n{up}");
    let short = short.catalogue(goose(&[("1_steps.sql", &file)]));
    let running = tokio::spawn(async move { apply(&short).await });
    while value(database, condition).await != "t" {
        assert!(!running.is_finished(), "it ended before it was held up");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Dropped as a killed process is: the server notices the closed socket, or ends the statement by itself.
    running.abort();
    run(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'migrator/%' AND datname = current_database()").await;
    holder.batch_execute("COMMIT").await.expect("it ends");
}

#[tokio::test]
async fn a_rebuild_that_was_cut_leaves_no_second_index() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int); CREATE INDEX i ON t (a)").await;
    let up = "REINDEX INDEX CONCURRENTLY i;\n";
    let half = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'i_ccnew')";
    cut(
        &database,
        &config,
        up,
        "BEGIN; INSERT INTO t VALUES (1)",
        half,
    )
    .await;
    steps(&config, up).await.unwrap();
    let indexes = "SELECT string_agg(indexrelid::regclass || ' ' || indisvalid, ',') FROM pg_index WHERE indrelid = 't'::regclass";
    assert_eq!(value(&database, indexes).await, "i true");
}

#[tokio::test]
async fn a_partition_that_is_half_detached_is_detached() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE p PARTITION OF t FOR VALUES IN (1)").await;
    let up = "ALTER TABLE t DETACH PARTITION p CONCURRENTLY;\n";
    let pending = "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)";
    cut(
        &database,
        &config,
        up,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t",
        pending,
    )
    .await;
    steps(&config, up).await.unwrap();
    assert_eq!(
        value(&database, "SELECT count(*) FROM pg_inherits").await,
        "0"
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('p') IS NOT NULL").await,
        "t"
    );
}

#[tokio::test]
async fn what_a_done_step_set_holds_for_the_rest_and_not_for_the_next_file() {
    let (database, config) = fresh().await;
    run(&database, "CREATE SCHEMA app").await;
    let up = |table: &str| {
        format!("SET search_path = app;\nCREATE TABLE a (i int);\nALTER TABLE {table} ADD j int;\n")
    };
    failed(steps(&config, &up("missing")).await);
    let file = format!("-- +goose NO TRANSACTION\n-- +goose Up\n{}", up("a"));
    let next = ("2_next.sql", "-- +goose Up\nCREATE TABLE b (i int);\n");
    apply(&config.catalogue(goose(&[("1_steps.sql", &file), next])))
        .await
        .unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('app.a') IS NOT NULL AND to_regclass('public.b') IS NOT NULL"
        )
        .await,
        "t"
    );
}

#[tokio::test]
async fn rows_of_a_copy_are_a_step_like_any_other() {
    let (database, config) = fresh().await;
    let up = "CREATE TABLE t (a int, b text);\nCOPY t FROM STDIN;\n1\tone\n2\ttwo; it's\n\\.\nBEGIN;\nCOPY t (a) FROM STDIN;\n3\n\\.\nCOMMIT;\n";
    steps(&config, up).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT string_agg(concat(a, b), ',' ORDER BY a) FROM t"
        )
        .await,
        "1one,2two; it's,3"
    );
}

#[tokio::test]
async fn what_may_have_committed_a_part_is_not_run_again_without_a_word() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int); CREATE TABLE gate (a int); CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); COMMIT; LOCK TABLE gate; END $$").await;
    let up = "CALL p();\n";
    let waits =
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'gate'::regclass)";
    cut(&database, &config, up, "BEGIN; LOCK TABLE gate", waits).await;
    let error = steps(&config, up).await.unwrap_err();
    assert!(
        matches!(error, Error::StepInDoubt { line: 3, .. }),
        "{error}"
    );
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "1");
    steps(&config.again(["1_steps"]), up).await.unwrap();
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "2");
}

#[tokio::test]
async fn a_later_session_goes_on_with_what_the_done_steps_left_in_theirs() {
    for before in [
        "BEGIN; SET search_path = app; CREATE TABLE z (a int); COMMIT;",
        "DO $$ BEGIN PERFORM set_config('search_path', 'app', false); END $$;",
        "SET search_path = public; DISCARD ALL; SELECT set_config('search_path', 'app', false);",
    ] {
        let (database, config) = fresh().await;
        run(&database, "CREATE SCHEMA app; CREATE TABLE app.t (a int); CREATE TABLE public.t (a int); INSERT INTO app.t VALUES (1), (1)").await;
        let up = format!("{before}\nCREATE UNIQUE INDEX CONCURRENTLY i ON t (a);\n");
        assert_eq!(failed(steps(&config, &up).await).2, "23505", "{before}");
        run(
            &database,
            "DELETE FROM app.t WHERE ctid = (SELECT min(ctid) FROM app.t)",
        )
        .await;
        steps(&config, &up)
            .await
            .unwrap_or_else(|error| panic!("{before}: {error}"));
        assert_eq!(
            value(&database, "SELECT string_agg(indexrelid::regclass || ' ' || indisvalid, ',') FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname = 'i'").await,
            "app.i true",
            "{before}"
        );
    }
}

#[tokio::test]
async fn what_set_something_by_writing_is_not_repeated() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE log (a int); CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ INSERT INTO log VALUES (1); SELECT 'x' $$").await;
    let up = |column: &str| {
        format!(
            "SELECT set_config('my.x', f(), false);\nALTER TABLE log ALTER {column} SET NOT NULL;\n"
        )
    };
    failed(steps(&config, &up("b")).await);
    steps(&config, &up("a")).await.unwrap();
    assert_eq!(value(&database, "SELECT count(*) FROM log").await, "1");
}

#[tokio::test]
async fn a_role_that_the_file_takes_does_not_write_the_ledger() {
    let (database, config) = fresh().await;
    let role = format!("r{}", database.name());
    run(
        &database,
        &format!("CREATE ROLE \"{role}\"; GRANT CREATE ON SCHEMA public TO \"{role}\""),
    )
    .await;
    let up = format!(
        "SET ROLE \"{role}\";\nCREATE TABLE mine (a int);\nVACUUM mine;\nRESET ROLE;\nCREATE TABLE z (a int);\nSET ROLE \"{role}\";\n"
    );
    steps(&config, &up).await.unwrap();
    let owners = "SELECT string_agg((tableowner = current_user)::text, ',' ORDER BY tablename) FROM pg_tables WHERE tablename IN ('mine', 'z')";
    assert_eq!(value(&database, owners).await, "false,true");
    run(
        &database,
        &format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""),
    )
    .await;
}
