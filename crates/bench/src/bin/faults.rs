//! Whether Data Storage loses or doubles an event that it acknowledged, while PostgreSQL's connections and PostgreSQL itself fail
//! under load.
//!
//! Clients send events without a pause and note what each answer acknowledged; faults follow one another; in the end every
//! acknowledged event must be in the table, once. A window of milliseconds in each commit takes about a hundred faults to be hit,
//! so this is longer than a test; a short one is among Data Storage's own.

#![expect(clippy::print_stdout, reason = "a table is the product")]

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use datastorage_client::{Client, Error, Written};
use embedded_postgres::{Durability, Options as PostgresOptions, Server};
use serde_json::Value;
use testkit::datastorage::Service;
use testkit::faults;
use testkit::load::{Account, Load};
use testkit::postgres::{database_on, own_server};

/// Counts acknowledged events that are lost or doubled while PostgreSQL fails
#[derive(Debug, Parser)]
struct Options {
    /// Times that the connections at work are ended
    #[arg(long, default_value_t = 100)]
    terminations: usize,
    /// Times that PostgreSQL is restarted (fast)
    #[arg(long, default_value_t = 20)]
    restarts: usize,
    /// Times that PostgreSQL is killed
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Times that there is no room for the write-ahead log
    #[arg(long, default_value_t = 3)]
    full_disks: usize,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Events acknowledged between two faults
    #[arg(long, default_value_t = 3000)]
    events: usize,
}

/// Events in each request of a run, one run after the other.
const SIZES: [&[usize]; 3] = [&[1], &[10], &[30]];
/// Bound of the wait for the events between two faults.
const DEADLINE: Duration = Duration::from_mins(2);
/// How long the last acknowledged event may take to be stored after the one before.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Termination,
    Restart,
    Kill,
    FullDisk,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let plan = [
        (Fault::Termination, options.terminations),
        (Fault::Restart, options.restarts),
        (Fault::Kill, options.kills),
        (Fault::FullDisk, options.full_disks),
    ];
    println!(
        "| fault | times | events in a request | acknowledged by 201 | by 202 | lost by 201 | lost by 202 | doubled |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut wrong = 0;
    for (fault, times) in plan.into_iter().filter(|(_, times)| *times > 0) {
        for sizes in SIZES {
            let Account {
                committed,
                queued,
                lost_committed,
                lost_queued,
                doubled,
            } = measure(options, fault, times, sizes).await?;
            println!(
                "| {} | {times} | {} | {committed} | {queued} | {lost_committed} | {lost_queued} | {doubled} |",
                fault.name(),
                sizes[0]
            );
            wrong += lost_committed + lost_queued + doubled;
        }
    }
    ensure!(
        wrong == 0,
        "{wrong} acknowledged events are lost or doubled"
    );
    Ok(())
}

async fn measure(
    options: &Options,
    fault: Fault,
    times: usize,
    sizes: &'static [usize],
) -> anyhow::Result<Account> {
    let mut postgres = own_server(PostgresOptions {
        durability: Durability::Durable,
        ..PostgresOptions::default()
    })
    .await;
    let database = database_on(&postgres, "audit").await;
    let service = Service::start(&database).await;
    let client = Client::new(&service.url())?;
    let load = Load::start(options.clients, sizes, move |batch: Vec<Value>| {
        let client = client.clone();
        async move { post(&client, &batch).await }
    });
    for _ in 0..times {
        load.more(options.events, DEADLINE).await;
        fault.strike(&mut postgres, database.url()).await;
    }
    load.more(options.events, DEADLINE).await;
    Ok(load.settle(database.url(), PATIENCE).await)
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Termination => "connections at work are ended",
            Self::Restart => "PostgreSQL is restarted, fast",
            Self::Kill => "PostgreSQL is killed",
            Self::FullDisk => "no room for the write-ahead log",
        }
    }

    async fn strike(self, postgres: &mut Server, url: &str) {
        match self {
            // One that finds none at work is no fault.
            Self::Termination => while faults::terminate(url).await == 0 {},
            Self::Restart => faults::restart_fast(postgres).await,
            Self::Kill => faults::crash(postgres).await,
            Self::FullDisk => faults::fill_wal_disk(postgres).await,
        }
    }
}

/// Sends a batch as the audit store does; none where the answer is not one of the contract.
async fn post(client: &Client, batch: &[Value]) -> Option<u16> {
    let ids: Vec<_> = batch
        .iter()
        .map(|event| event["event_id"].as_str()?.parse().ok())
        .collect();
    let body = serde_json::to_vec(batch).ok()?.into();
    match client.create_audit_events_batch_json(body, &ids).await {
        Ok(Written::Committed(_)) => Some(201),
        Ok(Written::Queued(_)) => Some(202),
        Err(Error::Problem(problem)) => Some(problem.status),
        Err(_) => None,
    }
}
