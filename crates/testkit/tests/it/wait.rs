//! Waiting ends with what was waited for, or with what was seen instead.

use std::time::Duration;

use testkit::wait::until;

#[tokio::test]
async fn a_wait_returns_what_it_waited_for() {
    let mut rounds = 0;
    let found = until("the fourth round", Duration::from_secs(10), async || {
        rounds += 1;
        if rounds == 4 {
            Ok(rounds)
        } else {
            Err(format!("round {rounds}"))
        }
    });
    assert_eq!(found.await, 4);
}

#[tokio::test]
#[should_panic(expected = "for the impossible; last seen: still nothing")]
async fn a_wait_that_times_out_reports_what_it_saw_last() {
    until("the impossible", Duration::from_millis(20), async || {
        Err::<(), _>("still nothing")
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "the first probe did not return")]
async fn a_probe_that_hangs_is_cut_off() {
    until("an answer", Duration::from_millis(20), async || {
        std::future::pending::<Result<(), String>>().await
    })
    .await;
}
