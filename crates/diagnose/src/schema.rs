//! The schema as it is beside the schema as the migrations make it: ledger, tables, columns, partitions.

use std::collections::BTreeMap;
use std::time::Instant;

use migrations::ROLE;
use migrator::examine::{State, View, compare, literal, read_shapes, text};
use migrator::{Error, Migration, Object};

use crate::cause::{Cause, Finding, Repair};
use crate::diagnosis::{Diagnosis, Verdict};
use crate::difference::finding_of;
use crate::examination::Examination;

/// Whether the profile's migrations are applied, as the ledger has it.
pub(crate) async fn ledger(
    examination: &Examination,
    view: &View,
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let began = Instant::now();
    let selected = selected(examination)?;
    let mut findings = Vec::new();
    let unmanaged = view.unmanaged(&examination.session, &examination.catalogue);
    if let Some(evidence) = unmanaged.await? {
        let database = examination.run.config.database();
        let summary = "the schema was made by another tool, which kept no ledger";
        findings.push(
            Finding::new(Cause::UnmanagedSchema, "", summary)
                .evidence(format!("{evidence} is there and schema_ledger is not"))
                .manual_step(format!(
                    "recreate the database: `dropdb {database} && createdb {database}`, then migrate"
                )),
        );
    }
    let mut applied = 0;
    for migration in &selected {
        let entry = view.ledger.entries.get(&migration.id);
        let (cause, evidence) = match entry.map(|entry| &entry.state) {
            None => (
                Cause::MigrationNotApplied,
                "has no row in schema_ledger".to_owned(),
            ),
            Some(State::InProgress(progress)) => (
                Cause::MigrationNotApplied,
                format!("was interrupted after {} steps", progress.done.len()),
            ),
            Some(State::Reverting(progress)) => (
                Cause::MigrationReverted,
                format!(
                    "is half reverted, by {} steps of its Down",
                    progress.done.len()
                ),
            ),
            Some(State::Reverted(at)) => {
                (Cause::MigrationReverted, format!("was reverted at {at}"))
            }
            Some(State::Applied) => {
                applied += 1;
                let changed = entry.is_some_and(|entry| entry.checksum != migration.checksum);
                if changed {
                    let summary = format!("{} is not the file that was applied", migration.file);
                    let finding = Finding::new(Cause::Ledger, migration.id.clone(), summary)
                        .evidence(format!("the ledger holds another checksum of {}", migration.id))
                        .manual_step("use the build that applied it, or restore the file and write a new migration");
                    findings.push(finding);
                }
                continue;
            }
        };
        let made = migration.provides.iter().map(ToString::to_string);
        let made = made.collect::<Vec<_>>().join(", ");
        let summary = match cause {
            Cause::MigrationReverted => "migrations of the profile were applied and then reverted",
            _ => "migrations of the profile were not applied",
        };
        let finding = Finding::new(cause, "", summary)
            .evidence(format!("{} {evidence}; it makes {made}", migration.id))
            .repair(Repair::Migrate);
        findings.push(finding);
    }
    let detail = format!("{applied} of {} migrations applied", selected.len());
    diagnosis.add("ledger", began, detail, findings);
    Ok(())
}

fn selected(examination: &Examination) -> Result<Vec<&Migration>, Error> {
    let selection = examination.run.config.selection();
    examination.catalogue.resolve(selection)
}

/// Compares every object of the profile with what the migrations make of it. What no migration made yet is the ledger's
/// finding and not one of its own, except where somebody made it in another shape.
pub(crate) async fn objects(
    examination: &Examination,
    view: &View,
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let began = Instant::now();
    let selected = selected(examination)?;
    let mut makers: BTreeMap<&Object, Vec<&Migration>> = BTreeMap::new();
    for migration in &selected {
        for object in &migration.provides {
            makers.entry(object).or_default().push(migration);
        }
    }
    let absent_role = (!view.has_role).then_some(ROLE);
    let is_applied = |id: &str| view.ledger.is_applied(id);
    let (made, unmade): (Vec<_>, Vec<_>) = makers
        .keys()
        .copied()
        .partition(|object| makers[*object].iter().any(|maker| is_applied(&maker.id)));
    let catalogue = &examination.catalogue;
    let mut expected = catalogue.expected(made.iter().copied(), is_applied, absent_role);
    let by_hand = catalogue.expected(unmade.iter().copied(), |_| true, absent_role);
    let names: Vec<String> = expected.keys().chain(by_hand.keys()).cloned().collect();
    let found = read_shapes(&examination.session, &examination.catalogue, &names).await?;
    let missing: Vec<String> = by_hand
        .keys()
        .filter(|name| !found.contains_key(*name))
        .cloned()
        .collect();
    expected.extend(
        by_hand
            .into_iter()
            .filter(|(name, _)| found.contains_key(name)),
    );
    let differences = compare(&expected, &found);
    let detail = match (differences.len(), missing.len()) {
        (0, 0) => format!("{} objects are as the migrations make them", expected.len()),
        (0, _) => format!("not there: {}", missing.join(", ")),
        (count, _) => format!("{count} differences in {} objects", expected.len()),
    };
    let files = |name: &str| -> Vec<String> {
        let of_object = makers.iter().find(|(object, _)| object.to_string() == name);
        let makers = of_object.into_iter().flat_map(|(_, makers)| makers);
        makers.map(|maker| maker.file.clone()).collect()
    };
    let findings: Vec<Finding> = differences
        .iter()
        .map(|difference| finding_of(difference, &expected, files(&difference.object)))
        .collect();
    let wrong = !findings.is_empty() || !missing.is_empty();
    diagnosis.add("schema", began, detail, findings);
    if let Some(check) = diagnosis.checks.last_mut().filter(|_| wrong) {
        check.verdict = Verdict::Wrong;
    }
    for name in missing {
        // The ledger's finding is the cause; that nothing is there either shows that the ledger is right.
        let because = |finding: &&mut Finding| {
            matches!(
                finding.cause,
                Cause::MigrationNotApplied | Cause::MigrationReverted
            )
        };
        if let Some(finding) = diagnosis.findings.iter_mut().find(because) {
            finding.evidence.push(format!("{name} is not there"));
        }
    }
    Ok(())
}

/// Whether rows of today and tomorrow, in UTC, have a partition; looks at the bounds, not at the names.
pub(crate) async fn partitions(
    examination: &Examination,
    tables: &[&str],
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let began = Instant::now();
    let names: Vec<String> = tables.iter().map(|table| literal(table)).collect();
    let sql = format!(
        "SELECT t, min(bound[1]), max(bound[2]), coalesce(string_agg(DISTINCT d::date::text, ', ') \
         FILTER (WHERE NOT covered), '') FROM unnest(ARRAY[{}]::text[]) AS t, \
         generate_series(current_date, current_date + 1, interval '1 day') AS d, \
         LATERAL (SELECT array[min(b[1]), max(b[2])] AS bound, \
           coalesce(bool_or(d::date >= b[1]::date AND d::date < b[2]::date), false) AS covered \
           FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, \
           LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([0-9-]{{10}}).*TO \\(''([0-9-]{{10}})') AS b \
           WHERE i.inhparent = to_regclass(t)) AS covering \
         WHERE to_regclass(t) IS NOT NULL GROUP BY t ORDER BY t",
        names.join(", ")
    );
    let sets = examination
        .session
        .query("looking at the partitions", &sql)
        .await?;
    let (mut findings, mut spans) = (Vec::new(), Vec::new());
    for row in sets.iter().flatten() {
        let (table, from, to, uncovered) = (text(row, 0), text(row, 1), text(row, 2), text(row, 3));
        let span = if from.is_empty() {
            format!("{table} has no partition")
        } else {
            format!("{table} from {from} until {to}")
        };
        if !uncovered.is_empty() {
            let summary = format!("no partition of {table} takes rows of {uncovered}");
            findings.push(
                Finding::new(Cause::NoPartition, format!("table {table}"), summary)
                    .evidence(&span)
                    .repair(Repair::Partitions),
            );
        }
        spans.push(span);
    }
    if spans.is_empty() {
        diagnosis.skip("partitions", "the partitioned tables are not there");
    } else {
        diagnosis.add("partitions", began, spans.join(", "), findings);
    }
    Ok(())
}
