//! Whether Data Storage, one or several, loses or doubles an event that it acknowledged, while it or PostgreSQL fails under load.
//!
//! Clients send events without a pause to all servers in turn, each of which has a queue of its own, and note what each answer
//! acknowledged; a request without an answer goes to the next server under the same ids. Faults follow one another; in the end every
//! acknowledged event must be in the table, once. A window of milliseconds in each commit takes about a hundred faults to be hit,
//! so this is longer than a test; a short one is among Data Storage's own.

#![expect(clippy::print_stdout, reason = "a table is the product")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Counts acknowledged events that are lost or doubled while Data Storage or PostgreSQL fails
#[derive(Debug, Parser)]
struct Options {
    /// Numbers of Data Storage servers on the one PostgreSQL
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    servers: Vec<usize>,
    /// Events in a request, one size after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 30])]
    sizes: Vec<usize>,
    /// Times that a Data Storage is killed
    #[arg(long, default_value_t = 20)]
    server_kills: usize,
    /// Times that the connections at work are ended
    #[arg(long, default_value_t = 100)]
    terminations: usize,
    /// Times that PostgreSQL is restarted (fast)
    #[arg(long, default_value_t = 20)]
    restarts: usize,
    /// Times that PostgreSQL is killed
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Times that PostgreSQL is killed, and a Data Storage while it is away
    #[arg(long, default_value_t = 10)]
    double_kills: usize,
    /// Times that PostgreSQL's processes are stopped for longer than Data Storage waits
    #[arg(long, default_value_t = 3)]
    freezes: usize,
    /// Times that the table is locked for so long
    #[arg(long, default_value_t = 3)]
    locks: usize,
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

/// How long PostgreSQL is frozen or its table locked: longer than `database.statement_timeout`, which is 10 s by default.
const FROZEN: Duration = Duration::from_secs(15);
/// How long events are queued before the Data Storage that holds them is killed.
const QUEUEING: Duration = Duration::from_millis(500);
/// Bound of the wait for the events between two faults.
const DEADLINE: Duration = Duration::from_mins(2);
/// How long the last acknowledged event may take to be stored after the one before.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Fault {
    ServerKill,
    Termination,
    Restart,
    Kill,
    DoubleKill,
    Freeze,
    Lock,
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
        (Fault::ServerKill, options.server_kills),
        (Fault::Termination, options.terminations),
        (Fault::Restart, options.restarts),
        (Fault::Kill, options.kills),
        (Fault::DoubleKill, options.double_kills),
        (Fault::Freeze, options.freezes),
        (Fault::Lock, options.locks),
        (Fault::FullDisk, options.full_disks),
    ];
    // It lives as long as the program, as the clients' loads want it.
    let sizes: &'static [usize] = options.sizes.clone().leak();
    println!(
        "| fault | servers | times | acknowledged by 201 | by 202 | stored | lost by 201 | lost by 202 | doubled |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut wrong = 0;
    for (fault, times) in plan.into_iter().filter(|(_, times)| *times > 0) {
        for &servers in &options.servers {
            let Account {
                committed,
                queued,
                lost_committed,
                lost_queued,
                doubled,
            } = measure(options, fault, times, servers, sizes).await?;
            let lost = lost_committed + lost_queued;
            println!(
                "| {} | {servers} | {times} | {committed} | {queued} | {} | {lost_committed} | {lost_queued} | {doubled} |",
                fault.name(),
                committed + queued - lost
            );
            wrong += lost + doubled;
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
    servers: usize,
    sizes: &'static [usize],
) -> anyhow::Result<Account> {
    ensure!(servers > 0, "--servers must be 1 at least");
    let mut postgres = own_server(PostgresOptions {
        durability: Durability::Durable,
        ..PostgresOptions::default()
    })
    .await;
    let database = database_on(&postgres, "audit").await;
    let mut services = Vec::new();
    for _ in 0..servers {
        services.push(Service::start(&database).await);
    }
    let clients: Result<Vec<_>, _> = services
        .iter()
        .map(|service| Client::new(&service.url()))
        .collect();
    let (clients, turn) = (Arc::new(clients?), Arc::<AtomicUsize>::default());
    let load = Load::start(options.clients, sizes, move |batch: Vec<Value>| {
        let (clients, turn) = (Arc::clone(&clients), turn.fetch_add(1, Ordering::Relaxed));
        async move { post(&clients[turn % clients.len()], &batch).await }
    });
    for time in 0..times {
        load.more(options.events, DEADLINE).await;
        let service = &mut services[time % servers];
        fault.strike(&mut postgres, service, database.url()).await;
    }
    load.more(options.events, DEADLINE).await;
    Ok(load.settle(database.url(), PATIENCE).await)
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::ServerKill => "a Data Storage is killed",
            Self::Termination => "connections at work are ended",
            Self::Restart => "PostgreSQL is restarted, fast",
            Self::Kill => "PostgreSQL is killed",
            Self::DoubleKill => "PostgreSQL is killed, and a Data Storage that queues",
            Self::Freeze => "PostgreSQL is stopped for 15 s",
            Self::Lock => "the table is locked for 15 s",
            Self::FullDisk => "no room for the write-ahead log",
        }
    }

    async fn strike(self, postgres: &mut Server, service: &mut Service, url: &str) {
        match self {
            Self::ServerKill => {
                service.kill();
                service.restart().await;
            }
            // One that finds none at work is no fault.
            Self::Termination => while faults::terminate(url).await == 0 {},
            Self::Restart => faults::restart_fast(postgres).await,
            Self::Kill => faults::crash(postgres).await,
            Self::DoubleKill => {
                postgres.kill().await.expect("killed");
                tokio::time::sleep(QUEUEING).await;
                service.kill();
                service.restart().await;
                postgres.restart().await.expect("restarted");
            }
            Self::Freeze => faults::freeze(postgres, FROZEN).await,
            Self::Lock => faults::lock_table(url, "audit_events", FROZEN).await,
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
