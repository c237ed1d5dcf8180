//! A relay beside a fake: the sidecar of `kind/manifests/relay.yaml` in the fake's pod, and the fake without a journal of its own.

use serde_json::{Value, json};

/// Where the relay listens in the pod.
const RELAY: &str = "http://127.0.0.1:18090";

/// The objects of a fake, with the relay of these objects in its pod. No manifest can say that by itself: what is beside a relay has no
/// journal, no token, and another address of Data Storage.
pub fn beside(mut objects: Vec<Value>, relay: &[Value]) -> Vec<Value> {
    for pod in objects
        .iter_mut()
        .filter_map(|object| object.pointer_mut("/spec/template/spec"))
    {
        pod["initContainers"] = relay[0]["spec"]["initContainers"].clone();
        let service = &mut pod["containers"][0];
        service["volumeMounts"] = json!([]);
        if let Some(variables) = service["env"].as_array_mut() {
            let of_relay = [
                e2e_env::fake::AUDIT_JOURNAL_DIR,
                e2e_env::DATASTORAGE_TOKEN_FILE,
            ];
            variables.retain(|variable| of_relay.iter().all(|name| variable["name"] != *name));
            let url = variables
                .iter_mut()
                .find(|variable| variable["name"] == e2e_env::DATASTORAGE_URL);
            if let Some(url) = url {
                url["value"] = json!(RELAY);
            }
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::kubernetes::manifests;

    #[test]
    fn the_relay_has_the_journal_and_the_fake_has_the_relay() {
        let of = |path: &str| manifests::parse(manifests::embedded(path).unwrap()).unwrap();
        let relay = of("kind/manifests/relay.yaml");
        let objects = beside(of("kind/manifests/fake.yaml"), &relay);
        let pod = &objects[2]["spec"]["template"]["spec"];
        let (relay, fake) = (&pod["initContainers"][0], &pod["containers"][0]);
        let journal = &relay["volumeMounts"][0]["name"];
        assert_eq!(
            (journal, &pod["volumes"][1]["name"]),
            (&json!("journal"), &json!("journal"))
        );
        let variables = fake["env"].to_string();
        assert!(
            variables.contains(RELAY)
                && !variables.contains("JOURNAL")
                && !variables.contains("TOKEN"),
            "{variables}"
        );
        // Where the fake's requests go is where the relay listens.
        let listens = relay["env"][1]["value"].as_str().unwrap();
        assert_eq!(RELAY, format!("http://{listens}"));
    }
}
