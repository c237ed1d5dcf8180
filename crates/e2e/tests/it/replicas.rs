//! What only several replicas of Data Storage can show, behind one Service: one of them killed, all of them replaced.
//!
//! One module per service, as in `alone`; the tool leaves them out, by name, where there is one replica.

mod datastorage {
    use crate::fault::during;
    use crate::kubectl::kubectl;
    use crate::load::under_load;
    use crate::tool;
    use crate::writer::Patience;

    #[tokio::test]
    async fn while_one_of_two_is_killed_no_request_is_refused_and_nothing_is_lost() {
        during(async {
            under_load(Patience::UntilAnswered, async {
                let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
                let count = kubectl(&["get", "pod", "datastorage-0", "--output", restarts]).await;
                let next = count.parse::<u32>().unwrap() + 1;
                let killed = tool::run(&["kill", "datastorage", "--replica", "0"]).await;
                let said = String::from_utf8_lossy(&killed.stderr);
                assert!(killed.status.success(), "{said}");
                let until = format!("--for={restarts}={next}");
                kubectl(&["wait", "pod", "datastorage-0", &until, "--timeout", "60s"]).await;
                ready().await;
            })
            .await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_rolling_restart_refuses_nothing_and_loses_nothing() {
        during(async {
            under_load(Patience::OneRetry, async {
                kubectl(&["rollout", "restart", "statefulset/datastorage"]).await;
                ready().await;
            })
            .await;
        })
        .await;
    }

    /// Returns when every replica is of the newest kind and ready.
    pub(crate) async fn ready() {
        let status = [
            "rollout",
            "status",
            "statefulset/datastorage",
            "--timeout",
            "150s",
        ];
        kubectl(&status).await;
        let all = ["wait", "pods", "--selector", "app=datastorage", "--for"];
        kubectl(&[&all[..], &["condition=Ready", "--timeout", "60s"]].concat()).await;
    }
}

pub(crate) use datastorage::ready;
