//! Accepts one event and says what became of it: `journal URL DIRECTORY`. Without a Data Storage at the URL it waits in the directory.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::time::Duration;

use audit_store::{Config, Event, Store};
use datastorage_api::{EventCategory, EventOutcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("usage: journal URL DIRECTORY".into());
    };
    let store = Store::open(&url, Config::for_service("example", directory))?;
    store.store(Event::new(
        EventCategory::Workflow,
        "workflow.started",
        EventOutcome::Success,
        "remediation-7",
    ))?;
    let report = store.close(Duration::from_millis(100)).await?;
    println!("{} stored, {} journalled", report.stored, report.journalled);
    Ok(())
}
