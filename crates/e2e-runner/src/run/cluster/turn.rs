//! The order of runs in a namespace that was given: one at a time, the first to come first. A run that is killed while it waits is passed
//! over.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::apply::{EXPIRES, OWNER, RUN, labels};
use crate::run::kubernetes::manifests;
use crate::run::session::Session;
use crate::wait::{Look, Wait};

/// The label of tickets.
const TURN: &str = "kubernaut.io/e2e-turn";
/// What a ticket says while its run waits: when it was renewed last, in seconds since 1970.
const RENEWED: &str = "renewed";
/// How long a ticket of a waiting run counts without being renewed; clocks may differ.
const STALE: Duration = Duration::from_mins(2);
/// How often the tickets are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the own one is renewed while it waits.
const RENEWAL: Duration = Duration::from_secs(20);
/// How long a ticket has to have been the first: longer than the second in which the API server's clock may call two the same, and the
/// time that making one takes.
const SETTLED: Duration = Duration::from_millis(1_500);

/// The name of the run's ticket in a namespace.
pub fn ticket(session: &Session) -> String {
    format!("e2e-turn-{}", session.run.id())
}

/// A ticket as the namespace has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ticket {
    run: String,
    owner: String,
    /// When it was made, by the API server's clock, as RFC 3339 writes it.
    made: String,
    /// When its run may be removed by anybody, in seconds since 1970.
    expires: i64,
    /// When it was renewed last; none of a run that has its turn.
    renewed: Option<i64>,
}

impl Ticket {
    fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (meta, number) = (&object["metadata"], |value: &Value| {
            value.as_str()?.parse().ok()
        });
        Self {
            run: text(&meta["labels"][RUN]),
            owner: text(&meta["labels"][OWNER]),
            made: text(&meta["creationTimestamp"]),
            expires: number(&meta["labels"][EXPIRES]).unwrap_or_default(),
            renewed: number(&object["data"][RENEWED]),
        }
    }

    /// Whether it counts: its run waits and renews it, or has its turn and may still be there.
    fn counts(&self, now: i64) -> bool {
        let stale = i64::try_from(STALE.as_secs()).unwrap_or(i64::MAX);
        match self.renewed {
            Some(renewed) => now.saturating_sub(renewed) <= stale,
            None => now <= self.expires,
        }
    }
}

/// The tickets before a run's own, the one whose turn it is first.
fn before(mut tickets: Vec<Ticket>, run: &str, now: i64) -> Vec<Ticket> {
    tickets.retain(|ticket| ticket.run == run || ticket.counts(now));
    // Who has the turn keeps it, though a clock may have made an earlier ticket of another.
    tickets.sort_by_key(|ticket| {
        (
            ticket.renewed.is_some(),
            ticket.made.clone(),
            ticket.run.clone(),
        )
    });
    let own = tickets.iter().position(|ticket| ticket.run == run);
    tickets.truncate(own.unwrap_or(tickets.len()));
    tickets
}

/// Waits until it is the run's turn in a namespace.
pub fn take(session: &Session, namespace: &str, deadline: Duration) -> Result<(), Failure> {
    let run = session.run.id();
    renew(session, namespace, true)?;
    let mut told = String::new();
    // Tickets of one second are told apart by their names: one that is first is it once none can come any more that is before it.
    let mut first_since: Option<Instant> = None;
    let wait = Wait {
        what: &format!("the namespace {namespace} was in use by other runs"),
        deadline,
        interval: LOOK,
    };
    let mut renewed = Instant::now();
    let turn = wait.until(session.runner.cancel(), || {
        let ahead = before(tickets(session, namespace)?, &run, now());
        let Some(first) = ahead.first() else {
            let since = *first_since.get_or_insert_with(Instant::now);
            return Ok(if since.elapsed() >= SETTLED {
                Look::Ready(())
            } else {
                Look::NotYet("its turn has come".to_owned())
            });
        };
        first_since = None;
        let until = Timestamp::from_second(first.expires).unwrap_or_default();
        let seen = format!(
            "{} of {} has its turn, until {until} at the latest; {} more before this run",
            first.run,
            first.owner,
            ahead.len() - 1
        );
        if seen != told {
            session
                .report
                .note(&format!("waits for the namespace {namespace}: {seen}"));
            told.clone_from(&seen);
        }
        if renewed.elapsed() >= RENEWAL {
            renew(session, namespace, true)?;
            renewed = Instant::now();
        }
        Ok(Look::NotYet(seen))
    });
    turn.map_err(|failure| {
        if failure.exit == Exit::Deadline {
            failure.hint("wait for it, end it with `cargo xtask down` where it runs, or give another --namespace")
        } else {
            failure
        }
    })?;
    renew(session, namespace, false)
}

/// Whether the turn in a namespace is this run's still.
pub fn is_ours(session: &Session, namespace: &str) -> Result<bool, Failure> {
    let run = session.run.id();
    let tickets = tickets(session, namespace)?;
    let is_there = tickets.iter().any(|ticket| ticket.run == run);
    Ok(is_there && before(tickets, &run, now()).is_empty())
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn tickets(session: &Session, namespace: &str) -> Result<Vec<Ticket>, Failure> {
    let tickets = kubectl(session, namespace).labelled("configmaps", TURN)?;
    Ok(tickets.iter().map(Ticket::of).collect())
}

/// Writes the run's ticket: that it waits still, or that it has its turn.
fn renew(session: &Session, namespace: &str, waits: bool) -> Result<(), Failure> {
    let data = if waits {
        json!({RENEWED: now().to_string()})
    } else {
        json!({})
    };
    let mut ticket = [json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ticket(session)},
        "data": data,
    })];
    manifests::label(&mut ticket, &labels(session));
    manifests::label(&mut ticket, &[(TURN, "true".to_owned())]);
    kubectl(session, namespace).apply(&ticket).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn ticket(run: &str, made: &str, renewed: Option<i64>) -> Ticket {
        Ticket {
            run: run.to_owned(),
            owner: "somebody".to_owned(),
            made: made.to_owned(),
            expires: NOW + 60,
            renewed,
        }
    }

    fn ahead(tickets: &[Ticket], run: &str) -> Vec<String> {
        let before = before(tickets.to_vec(), run, NOW);
        before.into_iter().map(|ticket| ticket.run).collect()
    }

    #[test]
    fn runs_have_their_turn_in_the_order_in_which_they_came() {
        let tickets = [
            ticket("third", "2026-01-01T00:00:02Z", Some(NOW)),
            ticket("first", "2026-01-01T00:00:00Z", None),
            ticket("second", "2026-01-01T00:00:01Z", Some(NOW)),
        ];
        assert_eq!(ahead(&tickets, "third"), ["first", "second"]);
        assert_eq!(ahead(&tickets, "second"), ["first"]);
        assert!(ahead(&tickets, "first").is_empty());
    }

    #[test]
    fn a_run_that_was_killed_while_it_waited_is_passed_over() {
        let killed = ticket("killed", "2026-01-01T00:00:00Z", Some(NOW - 600));
        let own = ticket("own", "2026-01-01T00:00:01Z", Some(NOW));
        assert!(ahead(&[killed, own], "own").is_empty());
    }

    #[test]
    fn one_that_was_killed_in_its_turn_blocks_until_it_expires() {
        let mut killed = ticket("killed", "2026-01-01T00:00:00Z", None);
        let own = ticket("own", "2026-01-01T00:00:01Z", Some(NOW));
        assert_eq!(ahead(&[killed.clone(), own.clone()], "own"), ["killed"]);
        killed.expires = NOW - 1;
        assert!(ahead(&[killed, own], "own").is_empty());
    }

    #[test]
    fn of_two_that_came_in_one_second_one_is_first_for_both() {
        let made = "2026-01-01T00:00:00Z";
        let tickets = [ticket("b", made, Some(NOW)), ticket("a", made, Some(NOW))];
        assert_eq!(ahead(&tickets, "b"), ["a"]);
        assert!(ahead(&tickets, "a").is_empty());
    }
}
