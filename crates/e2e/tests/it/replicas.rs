//! What only several replicas of Data Storage can show, behind one Service: one of them killed, all of them replaced.
//!
//! One module per service, as in `alone`; the tool leaves them out, by name, where there is one replica.

mod datastorage {
    use std::env::var;

    use crate::fault::during;
    use crate::kubectl::kubectl;
    use crate::load::under_load;
    use crate::tool;
    use crate::writer::Patience;

    #[tokio::test]
    async fn while_one_of_two_is_killed_no_request_is_refused_and_nothing_is_lost() {
        during(async {
            under_load(Patience::UntilAnswered, async {
                let lives = Lives::of(["datastorage-0".to_owned()]).await;
                let killed = tool::run(&["kill", "datastorage", "--replica", "0"]).await;
                let said = String::from_utf8_lossy(&killed.stderr);
                assert!(killed.status.success(), "{said}");
                lives.ended().await;
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

    /// How often replicas have been started again at some time.
    pub(crate) struct Lives(Vec<(String, u32)>);

    const RESTARTS: &str = "jsonpath={.status.containerStatuses[0].restartCount}";

    impl Lives {
        /// Those of all replicas; of one alone nothing is asked, which its Service has whatever it says.
        pub(crate) async fn of_all() -> Self {
            let count = var(e2e_env::DATASTORAGE_REPLICAS).ok();
            let count = count.map_or(1, |count| count.parse::<u32>().unwrap());
            let several = (0..count).filter(|_| count > 1);
            Self::of(several.map(|number| format!("datastorage-{number}"))).await
        }

        async fn of(pods: impl IntoIterator<Item = String>) -> Self {
            let mut lives = Vec::new();
            for pod in pods {
                let count = kubectl(&["get", "pod", &pod, "--output", RESTARTS]).await;
                lives.push((pod, count.parse().unwrap()));
            }
            Self(lives)
        }

        /// Returns when Kubernetes knows that each of them has ended since, and is ready in its next life: what is killed answers again
        /// before its end is known, which then takes it out of its Service once more.
        pub(crate) async fn ended(self) {
            for (pod, count) in &self.0 {
                let until = format!("--for={RESTARTS}={}", count + 1);
                kubectl(&["wait", "pod", pod, &until, "--timeout", "60s"]).await;
            }
            if !self.0.is_empty() {
                ready().await;
            }
        }
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

pub(crate) use datastorage::{Lives, ready};
