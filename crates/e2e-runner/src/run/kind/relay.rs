//! A relay beside a fake: the sidecar of `kind/manifests/relay.yaml` in the fake's pod, and the fake without a journal of its own.

use serde_json::{Value, json};

use crate::exit::Failure;
use crate::run::kind::manifests::{self, Manifest};

/// Where the relay listens in the pod.
const RELAY: &str = "http://127.0.0.1:18090";

/// The objects of a fake, with a relay of this image in its pod.
pub fn beside(mut objects: Vec<Value>, name: &str, image: &str) -> Result<Vec<Value>, Failure> {
    let relay = Manifest::parse(manifests::RELAY)?
        .rename("fake", name)
        .set("Pod", "/spec/initContainers/0/image", image)
        .objects();
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
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_has_the_journal_and_the_fake_has_the_relay() {
        let fake = Manifest::parse(manifests::FAKE).unwrap();
        let objects = fake.rename("fake", "notification").objects();
        let objects = beside(objects, "notification", "relay:1").unwrap();
        let pod = &objects[1]["spec"]["template"]["spec"];
        let (relay, fake) = (&pod["initContainers"][0], &pod["containers"][0]);
        assert_eq!(relay["image"], "relay:1");
        assert_eq!(relay["env"][0]["value"], "notification");
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
