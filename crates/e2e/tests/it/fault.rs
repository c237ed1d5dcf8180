//! Faults, made by the tool: a component is killed in the middle of a scenario.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datastorage_client::Error;
use serde_json::Value;
use testkit::wait;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::audit::{check_complete, correlated, found};
use crate::environment::datastorage;
use crate::{service, tool};

/// Held for reading by a test that a fault would break, for writing by one that makes a fault and until it is over.
static UNDISTURBED: RwLock<()> = RwLock::const_new(());

/// Whether something was killed and nothing has been stored since.
static UNRECOVERED: AtomicBool = AtomicBool::new(false);

/// Keeps faults away while the guard lives. A fault's test is bounded, and so is the wait for it.
pub(crate) async fn none() -> RwLockReadGuard<'static, ()> {
    let undisturbed = UNDISTURBED.read().await;
    assert_recovered();
    undisturbed
}

/// Says that events are stored again after a fault.
pub(crate) fn is_over() {
    UNRECOVERED.store(false, Ordering::Relaxed);
}

/// What did not come back for one test is not waited for by each of the others.
fn assert_recovered() {
    assert!(
        !UNRECOVERED.load(Ordering::Relaxed),
        "nothing was stored any more after another test had killed a component; look at that test"
    );
}

/// What can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    /// The run's Data Storage.
    DataStorage,
    /// The service under test.
    Service,
    /// The PostgreSQL server, which must be this run's own.
    Postgres,
}

/// Kills a component with SIGKILL; the tool sees to it that it comes back, and does not wait for that.
pub(crate) async fn kill(component: Component) {
    let name = match component {
        Component::DataStorage => "datastorage",
        Component::Service => "service",
        Component::Postgres => {
            assert_eq!(
                std::env::var(e2e_env::OWN_POSTGRES).as_deref(),
                Ok("1"),
                "this test kills PostgreSQL, which other suites use too: leave it out with `--skip alone::`, or run the service by itself"
            );
            "postgres"
        }
    };
    let killed = tool::run(&["kill", name]).await;
    assert!(
        killed.status.success(),
        "`kill {name}` ended with {}: {}",
        killed.status,
        String::from_utf8_lossy(&killed.stderr)
    );
    UNRECOVERED.store(true, Ordering::Relaxed);
}

/// How long all replicas of Data Storage may take to answer again.
const BACK: Duration = Duration::from_mins(2);
/// So many that one of two replicas is met by none of them once in a million times.
const CONNECTIONS: u32 = 20;

/// Runs `test` while no other test is disturbed by the faults that it makes: they are over once every replica answers, not when the first
/// one does.
pub(crate) async fn during<T>(test: impl Future<Output = T>) -> T {
    let _others_wait = UNDISTURBED.write().await;
    assert_recovered();
    let result = test.await;
    // A Service chooses at random, also one that has just been killed and is not known to be gone yet.
    wait::until(
        "every replica of Data Storage to answer",
        BACK,
        async || {
            for _ in 0..CONNECTIONS {
                // A connection of its own.
                datastorage().get_raw("/health/live").await?;
            }
            Ok::<_, Error>(())
        },
    )
    .await;
    result
}

/// Plays a scenario with a component killed after its first step, and checks that nothing is lost, doubled or reordered.
pub(crate) async fn survives(component: Component, scenario: &str, names: &Value) {
    during(async {
        let first = service::emit(scenario, "to=1", names).await;
        service::stored().await;
        kill(component).await;
        if component == Component::Service {
            service::answers().await;
        }
        let rest = service::emit(scenario, "from=2", names).await;
        service::stored().await;
        let events = found(&correlated(&first.correlation_id)).await;
        check_complete(&events, &[first.emitted, rest.emitted].concat());
    })
    .await;
}
