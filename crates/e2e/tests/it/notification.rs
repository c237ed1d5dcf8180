//! Audit events of the notification controller: what becomes of its messages.

use datastorage_client::QueryAuditEvents;
use serde_json::{Value, json};
use testkit::events::unique;

use crate::audit::{SOME, check, check_complete, correlated, event, found};
use crate::fault::{self, Component};
use crate::service::play;
use crate::{catalogue, service};

/// What every event of a notification has.
fn message(names: &Value, own: Value) -> Value {
    let common = json!({
        "event_category": "notification", "event_outcome": "success", "correlation_id": names["remediation"],
        "actor_type": "service", "actor_id": "notification-controller", "resource_type": "NotificationRequest",
        "event_data": {
            "channel": SOME, "subject": "disk is full", "body": SOME, "priority": SOME, "type": SOME,
            "metadata": {"remediationRequestName": names["remediation"]},
        },
    });
    event(&common, own)
}

fn names() -> Value {
    json!({"remediation": unique("rr"), "notification": unique("nr"), "channel": "email", "subject": "disk is full"})
}

#[tokio::test]
async fn a_message_is_sent_and_acknowledged() {
    let names = names();
    let played = play("acknowledged", &names).await;
    let events = found(&correlated(&played.correlation_id)).await;
    let of_message = |event_type: &str, action: &str| {
        let notification = &names["notification"];
        let own = json!({
            "event_type": event_type, "event_action": action, "resource_id": notification, "event_data": {"notification_id": notification},
        });
        message(&names, own)
    };
    check(
        &events,
        &[
            of_message("notification.message.sent", "sent"),
            of_message("notification.message.acknowledged", "acknowledged"),
        ],
    );
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn three_notifications_of_a_remediation_have_nine_events_under_its_name() {
    let names = names();
    let played = play("three-escalations", &names).await;
    let events = found(&correlated(names["remediation"].as_str().unwrap())).await;
    let of_each = ["sent", "acknowledged", "escalated"];
    let expected: Vec<_> = (1..=3)
        .flat_map(|number| of_each.map(|action| (number, action)))
        .map(|(number, action)| {
            let notification = format!("{}-{number}", names["notification"].as_str().unwrap());
            let own = json!({
                "event_type": format!("notification.message.{action}"), "event_action": action, "resource_id": notification,
                "event_data": {"notification_id": notification},
            });
            message(&names, own)
        })
        .collect();
    check(&events, &expected);
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn an_escalation_says_why() {
    let names = names();
    play("three-escalations", &names).await;
    let escalations = QueryAuditEvents {
        event_type: Some("notification.message.escalated".to_owned()),
        ..correlated(names["remediation"].as_str().unwrap())
    };
    let escalated = message(
        &names,
        json!({"event_action": "escalated", "event_data": {"reason": SOME}}),
    );
    check(
        &found(&escalations).await,
        &[escalated.clone(), escalated.clone(), escalated],
    );
}

#[tokio::test]
async fn of_mixed_channels_one_delivery_succeeds_and_one_fails() {
    let names = testkit::events::with(
        names(),
        json!({"error_type": "smtp", "error": "relay denied"}),
    );
    let played = play("mixed-channels", &names).await;
    let sent = json!({"event_type": "notification.message.sent", "event_action": "sent", "event_data": {"channel": "console"}});
    let failed = json!({
        "event_type": "notification.message.failed", "event_action": "sent", "event_outcome": "failure",
        "event_data": {"channel": "email", "error_type": "smtp", "error": "relay denied"},
    });
    let expected = [message(&names, sent), message(&names, failed)];
    check(&found(&correlated(&played.correlation_id)).await, &expected);
    let failures = QueryAuditEvents {
        event_type: Some("notification.message.failed".to_owned()),
        ..correlated(&played.correlation_id)
    };
    check(&found(&failures).await, &expected[1..]);
}

#[tokio::test]
async fn without_a_remediation_the_uid_correlates() {
    let uid = unique("uid");
    let played = play("acknowledged", &json!({"uid": uid})).await;
    assert_eq!(played.correlation_id, uid);
    let of_uid = json!({"correlation_id": uid});
    check(&found(&correlated(&uid)).await, &[of_uid.clone(), of_uid]);
}

/// Has a component killed in the middle of a scenario.
pub(crate) async fn survives(component: Component) {
    fault::survives(component, "three-escalations", &names()).await;
}

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    survives(Component::DataStorage).await;
}

#[tokio::test]
async fn what_is_emitted_without_a_store_while_data_storage_is_away_is_kept_by_the_relay() {
    fault::during(async {
        assert_eq!(service::health().await["emits"], "by plain requests");
        fault::kill(Component::DataStorage).await;
        // Answered though nobody else is there to take it.
        let played = service::emit("three-escalations", "", &names()).await;
        service::stored().await;
        check_complete(
            &found(&correlated(&played.correlation_id)).await,
            &played.emitted,
        );
    })
    .await;
}

#[tokio::test]
async fn its_database_has_no_catalogue() {
    catalogue::is_absent().await;
}
