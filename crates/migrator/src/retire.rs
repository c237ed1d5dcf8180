//! Takes whole months past their retention out of a table: its partition is detached, and stays as a table with its rows.
//!
//! As with [`crate::partitions`], functions of the schema decide: `<table>_retention()` lists the months that are over, and
//! `retire_<table>_partition(name)` looks again and detaches one. A table without them keeps everything.

use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use crate::config::Config;
use crate::error::Error;
use crate::rows::text;
use crate::session::{Run, Session};
use crate::sql::{identifier, literal};

/// How often a month that is in use is tried.
const ATTEMPTS: u32 = 3;
/// Between two attempts: whoever stood in line behind the first goes on.
const PAUSE: Duration = Duration::from_millis(200);

/// What becomes of a month that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MonthState {
    /// Its retention has not passed.
    Kept,
    /// Its retention has passed, and something in it is held.
    Held,
    /// Its retention has passed; [`retire`] detaches it.
    Due,
    /// Detached by this run.
    Retired,
    /// Due, and others used it or its table: not detached.
    Busy,
}

/// One month of a table, all of it in the past.
#[derive(Clone, Debug, Serialize)]
pub struct Month {
    /// The partitioned table.
    pub table: String,
    /// The partition.
    pub partition: String,
    /// First day.
    pub first_day: String,
    /// Last day.
    pub last_day: String,
    /// Last day on which it must be kept; `infinity` for one that is kept for ever.
    pub kept_until: String,
    /// Rows that are held.
    pub held: u64,
    /// What becomes of it.
    pub state: MonthState,
}

/// Answer of [`retire_plan`] and [`retire`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Retirement {
    /// Months that are over, oldest first in each table.
    pub months: Vec<Month>,
}

impl Retirement {
    /// Months in this state.
    pub fn in_state(&self, state: MonthState) -> impl Iterator<Item = &Month> {
        self.months.iter().filter(move |month| month.state == state)
    }
}

impl std::fmt::Display for Retirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for month in &self.months {
            let Month {
                partition,
                kept_until,
                held,
                ..
            } = month;
            match month.state {
                MonthState::Kept => writeln!(f, "{partition}  kept until {kept_until}"),
                MonthState::Held => writeln!(
                    f,
                    "{partition}  held: retention passed on {kept_until}, {held} rows are held"
                ),
                MonthState::Due => {
                    writeln!(f, "{partition}  due: retention passed on {kept_until}")
                }
                MonthState::Retired => {
                    writeln!(f, "{partition}  detached; its table and rows stay")
                }
                MonthState::Busy => writeln!(f, "{partition}  due, but in use; run it again"),
            }?;
        }
        let count = |state| self.in_state(state).count();
        write!(
            f,
            "{} months are over: {} kept, {} held, {} due, {} detached, {} in use",
            self.months.len(),
            count(MonthState::Kept),
            count(MonthState::Held),
            count(MonthState::Due),
            count(MonthState::Retired),
            count(MonthState::Busy)
        )
    }
}

/// What [`retire`] would do now; changes nothing.
///
/// # Errors
/// Those of connecting and of the selection; [`Error::MissingTable`] where none of the selection's tables has a retention.
pub async fn retire_plan(config: &Config) -> Result<Retirement, Error> {
    Run::bounded(config, |run| async move {
        let session = Session::open(&run).await?;
        let months = list(&run, &session).await?;
        session.close().await;
        Ok(Retirement { months })
    })
    .await
}

/// Detaches the months past their retention of which nothing is held, each by itself; no row is deleted. Who cannot have the
/// locks within two seconds goes on without them and says so.
///
/// # Errors
/// As [`retire_plan`]; months detached by then stay detached.
pub async fn retire(config: &Config) -> Result<Retirement, Error> {
    Run::bounded(config, |run| async move {
        let session = Session::open(&run).await?;
        let mut months = list(&run, &session).await?;
        for month in months
            .iter_mut()
            .filter(|month| month.state == MonthState::Due)
        {
            month.state = detach(&session, month).await?;
        }
        session.close().await;
        Ok(Retirement { months })
    })
    .await
}

async fn list(run: &Run, session: &Session) -> Result<Vec<Month>, Error> {
    let stage = "looking at the retention";
    let tables = run
        .config
        .catalogue
        .partitioned_tables(&run.config.selection)?;
    let with_retention = tables.iter().map(|table| {
        let function = literal(&format!(
            "{}(date)",
            identifier(&format!("{table}_retention"))
        ));
        format!(
            "SELECT {} WHERE to_regprocedure({function}) IS NOT NULL",
            literal(table)
        )
    });
    let mut questions = vec![format!("SET {}", session.names().search_path())];
    questions.extend(with_retention);
    let sets = session.query(stage, &questions.join("; ")).await?;
    let found: Vec<String> = sets.iter().flatten().map(|row| text(row, 0)).collect();
    if found.is_empty() {
        return Err(Error::MissingTable {
            table: format!("with a retention among [{}]", tables.join(", ")),
            reason: "the migration that makes the functions <table>_retention and retire_<table>_partition is not applied".to_owned(),
            again: Vec::new(),
        });
    }
    let mut months = Vec::new();
    for table in found {
        let sql = format!(
            "SELECT partition, first_day, last_day, kept_until, held, \
             CASE WHEN kept_until >= (now() AT TIME ZONE 'UTC')::date THEN 'kept' WHEN held > 0 THEN 'held' ELSE 'due' END FROM {}()",
            identifier(&format!("{table}_retention"))
        );
        let sets = session.query(stage, &sql).await?;
        months.extend(sets.iter().flatten().map(|row| Month {
            table: table.clone(),
            partition: text(row, 0),
            first_day: text(row, 1),
            last_day: text(row, 2),
            kept_until: text(row, 3),
            held: text(row, 4).parse().unwrap_or_default(),
            state: match row.get(5) {
                Some("due") => MonthState::Due,
                Some("held") => MonthState::Held,
                _ => MonthState::Kept,
            },
        }));
    }
    Ok(months)
}

async fn detach(session: &Session, month: &Month) -> Result<MonthState, Error> {
    let function = identifier(&format!("retire_{}_partition", month.table));
    let sql = format!("SELECT {function}({})", literal(&month.partition));
    for _ in 0..ATTEMPTS {
        match session.try_query(&sql).await {
            Ok(sets) => {
                let done = sets.iter().flatten().any(|row| row.get(0) == Some("t"));
                // A hold, or an event that is kept longer, came in between.
                return Ok(if done {
                    MonthState::Retired
                } else {
                    MonthState::Held
                });
            }
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| matches!(code.code(), "55P03" | "40P01")) => {}
            Err(error) => {
                return Err(session.explain(&error, &format!("detaching {}", month.partition)));
            }
        }
        sleep(PAUSE).await;
    }
    Ok(MonthState::Busy)
}
