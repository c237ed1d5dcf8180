//! What only a run with a PostgreSQL server of its own can show: the server is killed in the middle, and nothing is lost.
//!
//! One module per service, so that `alone::gateway::` selects the gateway's.

use crate::fault::{Component, during, kill};

/// The suites whose service emits.
macro_rules! postgresql_is_killed {
    ($($service:ident)*) => {$(
        mod $service {
            #[tokio::test]
            async fn nothing_is_lost_when_postgresql_is_killed_in_the_middle() {
                crate::$service::survives(super::Component::Postgres).await;
            }
        }
    )*};
}

postgresql_is_killed! {
    workflowexecution gateway aianalysis notification remediationorchestrator signalprocessing
}

mod datastorage {
    use super::{Component, during, kill};
    use crate::writer::{Taken, Writer};

    #[tokio::test]
    async fn while_postgresql_is_away_events_are_queued_and_stored_when_it_is_back() {
        during(async {
            let mut writer = Writer::new();
            assert_eq!(writer.write().await, Taken::Committed);
            // At once: the server may be back before the tool says that it was killed.
            tokio::join!(kill(Component::Postgres), writer.write_until(Taken::Queued));
            writer.write_until(Taken::Committed).await;
            writer.check().await;
        })
        .await;
    }
}

mod replicas {
    mod datastorage {
        use super::super::{Component, during, kill};
        use crate::kubectl::kubectl;
        use crate::replicas::ready;
        use crate::writer::{Taken, Writer};

        /// How many events wait in the queues.
        const WAITING: usize = 20;

        #[tokio::test]
        async fn what_waits_in_the_queue_of_a_deleted_pod_is_stored_by_the_one_that_follows_it() {
            during(async {
                let mut writer = Writer::new();
                assert_eq!(writer.write().await, Taken::Committed);
                // A Service that selects nothing leads nowhere: PostgreSQL is away for as long as this test wants.
                lead_to("nowhere").await;
                kill(Component::Postgres).await;
                writer.write_until(Taken::Queued).await;
                for _ in 0..WAITING {
                    assert_eq!(writer.write().await, Taken::Queued);
                }
                let delete = ["delete", "pods", "--selector", "app=datastorage"];
                kubectl(&[&delete[..], &["--force", "--grace-period", "0"]].concat()).await;
                lead_to("postgres").await;
                writer.write_until(Taken::Committed).await;
                ready().await;
                writer.check().await;
            })
            .await;
        }

        /// Has the address of PostgreSQL lead to the pods of this name.
        async fn lead_to(app: &str) {
            let patch = format!(r#"{{"spec":{{"selector":{{"app":"{app}"}}}}}}"#);
            kubectl(&["patch", "service", "postgres", "--patch", &patch]).await;
        }
    }
}
