//! A part in a cluster: its manifests as objects with their images, certificates and published ports, applied.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kubernetes::apply::{ensure, namespace};
use crate::run::kubernetes::endpoints::Endpoint;
use crate::run::kubernetes::images;
use crate::run::kubernetes::manifests;
use crate::run::kubernetes::site::Site;
use crate::run::kubernetes::sources;
use crate::run::part_run::PartRun;
use crate::run::session::Session;
use crate::table::part::{Part, Publish};
use crate::tools::kind;

/// Applies a part, and keeps the addresses of what it publishes.
pub fn deploy(session: &Session, site: &dyn Site, part_run: &PartRun) -> Result<String, Failure> {
    let mut objects = certificates(session, part_run)?;
    objects.extend(sources::objects(session, part_run)?);
    let given_back = give_back_node_ports(session.service_runs.len(), &mut objects);
    let addresses = publish(session, site, part_run, &mut objects)?;
    for (service, port) in given_back {
        let is_published = part_run
            .part
            .publish
            .iter()
            .any(|publish| publish.service.as_ref().unwrap_or(&part_run.part.name) == &service);
        if !is_published {
            session.report.note(&format!(
                "node port {port} of the Service {service} is one of the run's own: it gets another; `publish` gives a suite its address"
            ));
        }
    }
    pin(session, &mut objects);
    site.cover(session, part_run, &mut objects)?;
    let objects = [namespace(&part_run.namespace)?, objects].concat();
    let note = ensure(
        session,
        site,
        &part_run.namespace,
        part_run.level(),
        &objects,
    )?;
    part_run.published.get_or_init(|| addresses);
    let told = part_run.first_address().map(str::to_owned);
    let told = told.unwrap_or_else(|| format!("{} objects", objects.len()));
    Ok(format!("{told}{note}"))
}

/// Gives pods the very content that was loaded under a name of the table.
fn pin(session: &Session, objects: &mut [Value]) {
    manifests::pin_images(objects, |name| {
        let mut images = session.parts().flat_map(|part| &part.images);
        let known = images.find(|image| short(&image.name) == short(name))?;
        Some(images::pinned(session, &known.name))
    });
}

/// An image's name without the registry that people leave out.
fn short(image: &str) -> &str {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    image.strip_prefix("library/").unwrap_or(image)
}

/// The Secrets of the certificates that the run's authority signs.
fn certificates(session: &Session, part_run: &PartRun) -> Result<Vec<Value>, Failure> {
    let mut secrets = Vec::new();
    for certificate in &part_run.part.certificates {
        let hosts = certificate.hosts.iter();
        let hosts: Vec<String> = hosts
            .map(|host| session.text(part_run, host))
            .collect::<Result<_, _>>()?;
        let signed = session.private()?.certificate(&hosts)?;
        session.report.secrets().add(&signed.key);
        let data = json!({
            "tls.crt": signed.certificate,
            "tls.key": signed.key,
            "ca.crt": session.private()?.authority()?,
        });
        let mut secret = manifests::secret(&certificate.secret, &data);
        secret["type"] = json!("kubernetes.io/tls");
        if let Some(namespace) = &certificate.namespace {
            secret["metadata"]["namespace"] = json!(namespace);
        }
        secrets.push(secret);
    }
    Ok(secrets)
}

/// Makes the Services that a part publishes such as this machine reaches them. Returns the address of each by its variable.
fn publish(
    session: &Session,
    site: &dyn Site,
    part_run: &PartRun,
    objects: &mut [Value],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut addresses = BTreeMap::new();
    for publish in &part_run.part.publish {
        let endpoint = Endpoint::Published(part_run, publish);
        let node_port = site.fixed(session, &endpoint)?.map(|fixed| fixed.node_port);
        let own = part_run.namespace.as_str();
        let Some(port) = published_port(&part_run.part, own, publish, node_port, objects)? else {
            continue;
        };
        let address = site.reach(session, &endpoint, port)?;
        addresses.insert(publish.env.clone(), publish.url(&address));
    }
    Ok(addresses)
}

/// The number of a port that a part publishes, which gets a node port where there is one for it; none where there is no such Service.
pub fn published_port(
    part: &Part,
    own: &str,
    publish: &Publish,
    node_port: Option<u16>,
    objects: &mut [Value],
) -> Result<Option<u16>, Failure> {
    let name = publish.service.as_ref().unwrap_or(&part.name);
    let namespace = publish.namespace.as_deref().unwrap_or(own);
    let wrong = |what: String| {
        let what = format!("{}: `{}`: {what}", part.table, part.name);
        Err(Failure::new(Exit::Usage, what).hint("correct `publish` in the table of services"))
    };
    let service = objects.iter_mut().find(|object| {
        let there = object["metadata"]["namespace"].as_str().unwrap_or(own);
        object["kind"] == "Service"
            && object["metadata"]["name"] == name.as_str()
            && there == namespace
    });
    let Some(service) = service else {
        if publish.is_optional {
            return Ok(None);
        }
        return wrong(format!(
            "{} is to be the Service {name} in {namespace}, which its manifests do not have",
            publish.env
        ));
    };
    if service["spec"]["clusterIP"] == "None" {
        return wrong(format!(
            "{} is to be the Service {name}, which is headless: only one with an address can be published",
            publish.env
        ));
    }
    let ports = service["spec"]["ports"].as_array_mut();
    let mut ports = ports.into_iter().flatten();
    let found = match publish.port {
        Some(number) => ports.find(|port| port["port"] == number),
        None => ports.next(),
    };
    let Some(found) = found else {
        let number = publish
            .port
            .map_or("any".to_owned(), |port| port.to_string());
        return wrong(format!(
            "{} is to be port {number} of the Service {name}, which has no such port",
            publish.env
        ));
    };
    let number = found["port"].as_u64();
    if let Some(node_port) = node_port {
        found["nodePort"] = json!(node_port);
        service["spec"]["type"] = json!("NodePort");
    }
    Ok(number.and_then(|number| u16::try_from(number).ok()))
}

/// Takes away node ports that manifests name and that are the run's: Kubernetes would refuse a second of the same number. Returns the
/// Services with them.
fn give_back_node_ports(services: usize, objects: &mut [Value]) -> Vec<(String, u64)> {
    let ours: Vec<u16> = kind::node_ports(services).collect();
    let mut given_back = Vec::new();
    let services = objects
        .iter_mut()
        .filter(|object| object["kind"] == "Service");
    for object in services {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let name = name.to_owned();
        let ports = object.pointer_mut("/spec/ports");
        let ports = ports.and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            let number = port.get("nodePort").and_then(Value::as_u64);
            let is_ours = |number: &u64| ours.contains(&u16::try_from(*number).unwrap_or(0));
            if let Some(number) = number.filter(is_ours) {
                port.remove("nodePort");
                given_back.push((name.clone(), number));
            }
        }
    }
    given_back
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn an_image_is_the_same_with_and_without_the_registry_that_people_leave_out() {
        for name in ["w:e2e", "library/w:e2e", "docker.io/library/w:e2e"] {
            assert_eq!(short(name), "w:e2e");
        }
        assert_eq!(short("docker.io/team/w"), "team/w");
        assert_eq!(short("localhost/w"), "localhost/w");
    }

    #[test]
    fn a_published_port_is_found_by_service_namespace_and_number() {
        let part: Part = toml::from_str(
            "name = \"w\"\npublish = [{ env = \"METRICS_URL\", service = \"metrics\", port = 9090 }]",
        )
        .unwrap();
        let part_run = PartRun::new(part, "here".to_owned(), PathBuf::new());
        let publish = &part_run.part.publish[0];
        let service = |namespace: Value| {
            json!({"kind": "Service", "metadata": {"name": "metrics", "namespace": namespace},
                "spec": {"ports": [{"port": 80}, {"port": 9090}]}})
        };
        let mut objects = [service(json!("there")), service(Value::Null)];
        let found = published_port(&part_run.part, "here", publish, Some(30099), &mut objects);
        assert_eq!(found.unwrap(), Some(9090));
        assert_eq!(objects[0], service(json!("there")));
        assert_eq!(
            objects[1]["spec"],
            json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 9090, "nodePort": 30099}]})
        );
        objects[1]["spec"]["clusterIP"] = json!("None");
        let failure =
            published_port(&part_run.part, "here", publish, Some(30099), &mut objects).unwrap_err();
        assert!(failure.summary.contains("headless"), "{failure}");
        let failure =
            published_port(&part_run.part, "here", publish, None, &mut objects[..1]).unwrap_err();
        assert!(
            failure.summary.contains("which its manifests do not have"),
            "{failure}"
        );
        assert_eq!(
            part_run.pod_address(publish).as_deref(),
            Some("http://metrics.here.svc:9090")
        );
    }
}
