//! A steady load: several writers at once, each on a connection that it keeps, for as long as something happens to Data Storage.

use std::cell::Cell;
use std::time::Duration;

use crate::writer::{Patience, Writer};

/// Between two events of one writer.
const PACE: Duration = Duration::from_millis(10);

/// Runs `fault` while four writers write, and checks that no request was refused and that every acknowledged event is stored once and
/// in order.
pub(crate) async fn under_load(patience: Patience, fault: impl Future<Output = ()>) {
    let over = Cell::new(false);
    let write = async || {
        let mut writer = Writer::of(patience);
        while !over.get() {
            writer.write().await;
            tokio::time::sleep(PACE).await;
        }
        writer
    };
    let fault = async {
        fault.await;
        over.set(true);
    };
    let (first, second, third, fourth, ()) =
        Box::pin(async { tokio::join!(write(), write(), write(), write(), fault) }).await;
    let mut events = 0;
    for writer in [first, second, third, fourth] {
        events += writer.taken();
        writer.check().await;
    }
    println!("{events} events were acknowledged, and are stored once");
}
