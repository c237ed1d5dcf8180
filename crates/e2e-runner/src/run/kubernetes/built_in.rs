//! The objects of the tool's own parts (`kind/parts.toml`): embedded manifests with names, images and published ports, as a team's parts
//! have them. Needs no session: what a run decides is given.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::run::kubernetes::manifests;
use crate::run::kubernetes::parts::published_port;
use crate::run::kubernetes::site::Fixed;
use crate::table::part::Part;
use crate::table::service::Component;
use crate::table::{self, source::Source};

/// What a run decides of a part.
#[derive(Clone, Debug, Default)]
pub struct Decided<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The exact name of its image in the node.
    pub image: &'a str,
    /// Where its Service is, where that is known beforehand.
    pub fixed: Option<Fixed>,
    /// What its manifests call by name.
    pub values: BTreeMap<&'a str, String>,
}

/// The part of a component; a fake is called as the service that it stands for, of which a relay is told too.
pub fn part(component: Component, service: &str) -> Result<Part, Failure> {
    let mut part = table::built_in(component)?;
    if matches!(component, Component::Fake | Component::Relay) {
        service.clone_into(&mut part.name);
    }
    Ok(part)
}

/// What the Kubernetes Service of a part is called, and with it all that the part makes.
pub fn name(part: &Part) -> &str {
    let service = part
        .publish
        .first()
        .and_then(|publish| publish.service.as_deref());
    service.unwrap_or(&part.name)
}

/// The objects of a part.
pub fn objects(part: &Part, decided: &Decided<'_>) -> Result<Vec<Value>, Failure> {
    let value = |asked: &str| match asked {
        "NAME" => Some(name(part).to_owned()),
        "NAMESPACE" => Some(decided.namespace.to_owned()),
        "ADDRESS" => {
            let fixed = decided.fixed.as_ref();
            Some(fixed.map_or_else(String::new, |fixed| fixed.address.clone()))
        }
        _ => decided.values.get(asked).cloned(),
    };
    let mut objects = Vec::new();
    for source in &part.manifests {
        let (text, path) = embedded(source)?;
        objects.extend(manifests::read(text, path, &value)?);
    }
    match &decided.fixed {
        Some(fixed) => {
            for publish in &part.publish {
                let node_port = Some(fixed.node_port);
                published_port(part, decided.namespace, publish, node_port, &mut objects)?;
            }
        }
        None => objects.iter_mut().for_each(leave_open),
    }
    manifests::pin_images(&mut objects, |image| {
        let known = part.images.iter().any(|known| known.name == image);
        known.then(|| decided.image.to_owned())
    });
    Ok(objects)
}

/// Takes the addresses that are known beforehand out of an object: the cluster gives its own, and its DNS answers.
fn leave_open(object: &mut Value) {
    for (holder, field) in [
        ("/spec", "clusterIP"),
        ("/spec/template/spec", "hostAliases"),
    ] {
        let holder = object.pointer_mut(holder);
        if let Some(holder) = holder.and_then(Value::as_object_mut) {
            holder.remove(field);
        }
    }
}

/// A manifest of the tool's own, with its path.
fn embedded(source: &Source) -> Result<(&'static str, &str), Failure> {
    let path = match source {
        Source::Named(path) => path.as_str(),
        _ => "kind/parts.toml",
    };
    let text = manifests::embedded(path).ok_or_else(|| {
        Failure::new(
            Exit::Setup,
            format!(
                "internal error in xtask (please report): the manifest {path} is not in the tool"
            ),
        )
    })?;
    Ok((text, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::kubernetes::relay;
    use crate::run::kubernetes::replicas::Replicas;
    use serde_json::json;

    fn of(
        component: Component,
        service: &str,
        image: &str,
        node_port: u16,
        address: &str,
    ) -> Value {
        let values = [
            ("PGPASSWORD", "secret"),
            ("SERVER", "postgres.here"),
            ("SERVER_ADDRESS", "10.96.0.80"),
            ("DATASTORAGE_ADDRESS", "10.96.0.83"),
            ("DATASTORAGE_TOKEN", "token"),
            ("CONFIG", "config: 1\n"),
            ("DATABASE_SECRETS", "secrets: 1\n"),
        ];
        let decided = Decided {
            namespace: "here",
            image,
            fixed: Some(Fixed {
                node_port,
                address: address.to_owned(),
            }),
            values: values.map(|(name, value)| (name, value.to_owned())).into(),
        };
        let part = part(component, service).unwrap();
        Value::from(objects(&part, &decided).unwrap())
    }

    /// What a kept environment was made from is not made anew because the tool writes it down in another way.
    #[test]
    fn the_objects_of_the_built_in_parts_are_those_that_the_golden_file_has() {
        let storage = |component, node_port, address| {
            of(
                component,
                "gateway",
                "localhost/kubernaut-datastorage:1",
                node_port,
                address,
            )
        };
        let list = |objects: Value| objects.as_array().unwrap().clone();
        let fake = |service| {
            of(
                Component::Fake,
                service,
                "localhost/kubernaut-service-fake:1",
                30047,
                "",
            )
        };
        let relay = of(
            Component::Relay,
            "notification",
            "localhost/kubernaut-audit-emit:1",
            0,
            "",
        );
        let replicas = Replicas { count: 2 };
        let one = storage(Component::Datastorage, 30041, "10.96.0.81");
        let made = json!({
            "postgres": of(Component::Postgres, "", "postgres@sha256:1", 30040, "10.96.0.80"),
            "datastorage": one,
            "datastorage, 2 replicas": replicas.objects("datastorage", list(one.clone())),
            "unmigrated": storage(Component::Unmigrated, 30042, "10.96.0.82"),
            "gateway": fake("gateway"),
            "notification": relay::beside(list(fake("notification")), &list(relay)),
        });
        let golden: Value = serde_json::from_str(include_str!("built_in.json")).unwrap();
        for (part, objects) in golden.as_object().unwrap() {
            for (at, object) in objects.as_array().unwrap().iter().enumerate() {
                assert_eq!(&made[part][at], object, "{part}");
            }
            assert_eq!(
                made[part].as_array().map(Vec::len),
                objects.as_array().map(Vec::len)
            );
        }
    }

    #[test]
    fn two_data_storages_share_no_name() {
        let second = of(Component::Unmigrated, "", "image", 30042, "10.96.0.82");
        assert!(!second.to_string().contains("\"datastorage\""));
    }

    #[test]
    fn a_name_that_no_run_decides_is_a_failure_that_says_where_it_stands() {
        let part = part(Component::Fake, "gateway").unwrap();
        let failure = objects(&part, &Decided::default()).unwrap_err();
        let told = failure.to_string();
        assert!(told.contains("kind/manifests/fake.yaml, line 7"), "{told}");
    }
}
