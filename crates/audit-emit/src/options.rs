//! Command line of `audit-emit`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use audit_store::{Access, Event};
use clap::Parser;
use datastorage_api::{EventCategory, EventData, EventOutcome};
use jiff::Timestamp;
use uuid::Uuid;

use crate::address::loopback;

/// Emit audit events
///
/// One event from flags, or NDJSON from standard input, one event a line in the full or the short form of the contract.
/// An accepted event is in the journal: if Data Storage is away, or this process is killed, the next run sends it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
    audit-emit --category workflow --type workflow.started --outcome success --correlation-id wfe-1\n  \
    jq -c '.[]' events.json | audit-emit --stdin\n  \
    audit-emit --stdin </dev/null    # send what an earlier run left\n  \
    jq -c .event DIRECTORY/0/parked.ndjson | audit-emit --stdin    # parked events, once mended\n  \
    audit-emit serve --listen 127.0.0.1:8080    # for a service in any language"
)]
pub(crate) struct Options {
    /// Base URL of Data Storage
    #[arg(
        long,
        env = "DATASTORAGE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Directory that keeps accepted events until they are stored; runs at the same time may share it
    #[arg(
        long,
        env = "AUDIT_JOURNAL_DIR",
        hide_env_values = true,
        value_name = "DIRECTORY"
    )]
    pub(crate) journal: PathBuf,
    /// How long to try to store the events, from the end of the input, before leaving them to the next run
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Duration,
    /// Exit with 3 if an event is not stored within the deadline
    #[arg(long)]
    pub(crate) require_stored: bool,
    /// Read events from standard input
    #[arg(long, conflicts_with_all = ["category", "type"])]
    pub(crate) stdin: bool,
    #[command(flatten)]
    event: EventOptions,
}

/// What is not emitting: it has a word of its own in front.
#[derive(Debug, Parser)]
#[command(version)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Command {
    /// Relay the audit events of a service in any language, which takes this for Data Storage
    ///
    /// It answers POST /api/v1/audit/events and /batch with 202 once the events are on disk, and sends them on until Data Storage has committed
    /// them. GET is passed on. It listens on this machine only, and ends on SIGTERM.
    Serve(ServeOptions),
    /// Ask a relay whether it is ready, for probes: exit code 0 if it is
    Ready {
        /// Where the relay listens
        #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
        listen: SocketAddr,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeOptions {
    /// Where it listens: `127.0.0.1:PORT` or `[::1]:PORT`
    #[arg(long, env = "AUDIT_RELAY_LISTEN", value_name = "ADDRESS", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
    /// Base URL of Data Storage
    #[arg(
        long,
        env = "DATASTORAGE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Directory of this relay's own that keeps accepted events until they are stored; it must outlive the process
    #[arg(
        long,
        env = "AUDIT_JOURNAL_DIR",
        hide_env_values = true,
        value_name = "DIRECTORY"
    )]
    pub(crate) journal: PathBuf,
    /// Label of its metrics: the service that it stands beside
    #[arg(
        long,
        env = "AUDIT_RELAY_SERVICE",
        default_value = "audit-relay",
        value_name = "NAME"
    )]
    pub(crate) service: String,
    /// How long it goes on serving after SIGTERM, unready, for the last events of the service beside it
    #[arg(long, env = "AUDIT_RELAY_LINGER", default_value = "5s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) linger: Duration,
    /// How long it may take to end after SIGTERM, sending what it can; the next start sends the rest
    #[arg(long, env = "AUDIT_RELAY_DEADLINE", default_value = "20s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Duration,
    /// File that gets the bound host:port once it listens; for port 0
    #[arg(long, env = "AUDIT_RELAY_ADDRESS_FILE", value_name = "FILE")]
    pub(crate) address_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct EventOptions {
    /// Service area: gateway, notification, analysis, signalprocessing, workflow, execution, orchestration
    #[arg(long, required_unless_present = "stdin", value_parser = category)]
    category: Option<EventCategory>,
    /// Such as workflow.started
    #[arg(
        long = "type",
        id = "type",
        value_name = "TYPE",
        required_unless_present = "stdin"
    )]
    event_type: Option<String>,
    /// success, failure or pending
    #[arg(long, required_unless_present = "stdin", value_parser = outcome)]
    outcome: Option<EventOutcome>,
    /// What ties the events of one remediation together
    #[arg(long, value_name = "ID", required_unless_present = "stdin")]
    correlation_id: Option<String>,
    /// Such as started; default the last part of the type
    #[arg(long)]
    action: Option<String>,
    /// A JSON object
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Who acted
    #[arg(long, value_name = "TYPE/ID", value_parser = pair)]
    actor: Option<(String, String)>,
    /// What was acted on
    #[arg(long, value_name = "TYPE/ID", value_parser = pair)]
    resource: Option<(String, String)>,
    /// Kubernetes namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Kubernetes cluster
    #[arg(long)]
    cluster_name: Option<String>,
    /// Such as warning
    #[arg(long)]
    severity: Option<String>,
    /// How long it took
    #[arg(long)]
    duration_ms: Option<i32>,
    /// The event that caused this one
    #[arg(long, value_name = "UUID")]
    parent: Option<Uuid>,
    /// Key of the event: give the same with --at to repeat one safely
    #[arg(long, value_name = "UUID", requires = "at")]
    id: Option<Uuid>,
    /// When it happened, in RFC 3339; default now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

impl Command {
    /// Reads the command line, if its first word is one of these.
    pub(crate) fn given() -> Option<Self> {
        let first = std::env::args_os().nth(1)?;
        let named = <Self as clap::CommandFactory>::command();
        named.find_subcommand(first)?;
        Some(Self::parse())
    }
}

impl Options {
    /// The event of the flags.
    pub(crate) fn event(&self) -> anyhow::Result<Event> {
        let EventOptions {
            category,
            event_type,
            outcome,
            correlation_id,
            ..
        } = &self.event;
        let (Some(category), Some(event_type), Some(outcome), Some(correlation_id)) =
            (category, event_type, outcome, correlation_id)
        else {
            anyhow::bail!("give --category, --type, --outcome and --correlation-id, or --stdin");
        };
        let event = Event::new(*category, event_type, *outcome, correlation_id);
        self.event.add_to(event)
    }
}

impl EventOptions {
    fn add_to(&self, event: Event) -> anyhow::Result<Event> {
        let mut event = event;
        if let Some(data) = &self.data {
            // Its text is kept: numbers beyond 64 bits stay exact.
            let data: EventData =
                serde_json::from_str(data).context("--data must be a JSON object")?;
            event = event.data(&data);
        }
        if let Some((kind, id)) = &self.actor {
            event = event.actor(kind, id);
        }
        if let Some((kind, id)) = &self.resource {
            event = event.resource(kind, id);
        }
        let with =
            |event: Event, set: fn(Event, &String) -> Event, value: &Option<String>| match value {
                Some(value) => set(event, value),
                None => event,
            };
        event = with(event, |event, value| event.action(value), &self.action);
        event = with(
            event,
            |event, value| event.namespace(value),
            &self.namespace,
        );
        event = with(
            event,
            |event, value| event.cluster_name(value),
            &self.cluster_name,
        );
        event = with(event, |event, value| event.severity(value), &self.severity);
        if let Some(duration_ms) = self.duration_ms {
            event = event.duration_ms(duration_ms);
        }
        if let Some(parent) = self.parent {
            event = event.parent(parent);
        }
        if let Some(id) = self.id {
            event = event.id(id);
        }
        if let Some(at) = self.at {
            event = event.at(at);
        }
        Ok(event)
    }
}

fn category(name: &str) -> Result<EventCategory, String> {
    let names: Vec<_> = EventCategory::ALL
        .into_iter()
        .map(EventCategory::as_str)
        .collect();
    EventCategory::from_name(name).ok_or_else(|| format!("give one of {}", names.join(", ")))
}

fn outcome(name: &str) -> Result<EventOutcome, String> {
    EventOutcome::from_name(name).ok_or_else(|| "give success, failure or pending".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (kind, id) = text
        .split_once('/')
        .ok_or("give a type and an id, such as user/jane")?;
    Ok((kind.to_owned(), id.to_owned()))
}

/// Reads a number of seconds, such as `2.5`, or with a unit, such as `500ms`, `10s` or `2m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err("give seconds, or a number with ms, s or m".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "give seconds, or a number with ms, s or m".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}
