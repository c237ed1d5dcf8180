//! A fake of an emitting service: on request it plays what that service does, as far as its audit events show.
//!
//! It takes the service's place, under its name and port, and emits through `audit-store` what the service's builders there make: cluster
//! DNS, network, store, client, Data Storage and database are all in the path, and only the reason for an event is pretended. Without a
//! journal it emits as a service in another language does: plain requests, and what is answered 201 or 202 is done with. A scenario is a
//! function from names to events, in `scenarios/<service>.rs`; it can be played step by step, so that something can be killed in its middle.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health`, `/health/live`, `/health/ready` | what it is; ready while its store takes events |
//! | `GET /scenarios` | what it plays, with the names that can be given and their defaults |
//! | `POST /scenarios/{name}?from=1&to=2` | plays a scenario, or the steps of it that are named, counted from 1; the body gives names |
//! | `POST /flush?seconds=30` | waits until Data Storage has committed all that was emitted; 504 names what it has not |
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use service_fake::{Fake, Steps};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let fake = Fake::open("gateway", "http://localhost:8080", Some("/var/tmp/gateway".as_ref()))?;
//! fake.play("new-signal", serde_json::Map::new(), Steps::default()).await?;
//! assert!(fake.flush(Duration::from_secs(5)).await.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** a fake says that it is one, in its help and in `/health`, and knows neither database nor cluster.
//!
//! Modules, each may import those after it: `http`, `problem`, `fake`, `plain`, `scenarios`, `scenario`

mod fake;
mod http;
mod plain;
mod problem;
mod scenario;
mod scenarios;

pub use fake::{Emitted, Fake, OpenError, PlayError, Played};
pub use http::router;
pub use plain::SendError;
pub use scenario::{Scenario, Steps};
pub use scenarios::{SERVICES, of_service};
