//! The certificates and keys of one cluster, where kubeadm has them: every cluster gets its own, so that none opens another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// Where a node has its certificates, as a path in an archive.
const DIRECTORY: &str = "etc/kubernetes/pki";
/// Where the programs of a node reach its API server.
const HERE: &str = "https://127.0.0.1:6443";
/// The first address of the range of Services (`kind/cluster.yaml`), which is that of the Service `kubernetes`.
const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// What a certificate is good for, in days: a cluster of this tool is kept for hours.
const DAYS: i64 = 365;

/// A file of the node: its path in an archive, its mode, its text.
pub type File = (String, u32, String);

/// What a cluster is opened with.
#[derive(Debug)]
pub struct Pki {
    /// The files of the node.
    pub files: Vec<File>,
    /// The authority's certificate.
    pub authority: String,
    /// The kubeconfig of whoever has made it, as kind names its parts.
    pub kubeconfig: String,
}

/// An authority of a cluster.
struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
struct Signed {
    certificate: String,
    key: String,
}

/// Whom a certificate is for: its name, and its group if it has one.
type Subject<'a> = (&'a str, Option<&'a str>);

/// The group of administrators that kubeadm binds.
const ADMINS: Option<&str> = Some("kubeadm:cluster-admins");
/// Who has a kubeconfig.
const ADMIN: Subject<'_> = ("kubernetes-admin", ADMINS);
/// Who may do all even where nothing is bound.
const SUPER_ADMIN: Subject<'_> = ("kubernetes-super-admin", Some("system:masters"));
/// The API server as kubelets know it.
const KUBELETS: Subject<'_> = ("kube-apiserver-kubelet-client", ADMINS);

/// Makes the certificates of a cluster whose node has the host name `host` and the container `node`, reached at a port of this machine.
pub fn make(cluster: &str, host: &str, node: &str, port: u16) -> Result<Pki, rcgen::Error> {
    let root = Authority::new("kubernetes")?;
    let mut files = pairs(&root, host, node)?;
    let accounts = KeyPair::generate()?;
    let path = |name: &str| format!("{DIRECTORY}/{name}");
    files.push((path("sa.key"), 0o600, accounts.serialize_pem()));
    files.push((path("sa.pub"), 0o600, accounts.public_key_pem()));
    files.extend(of_kubelet(&root, host, node)?);
    let admin = root.sign(ADMIN, Vec::new())?;
    let mut config = |name: &str, user: &str, server: &str, who: &str| {
        let text = kubeconfig("kubernetes", user, server, &root.certificate, who);
        files.push((format!("etc/kubernetes/{name}.conf"), 0o600, text));
    };
    // As `kind get kubeconfig --internal` gives it to the containers beside this one.
    let beside = format!("https://{node}:6443");
    config("admin", ADMIN.0, &beside, &holds(&admin));
    for (name, subject) in [
        ("super-admin", SUPER_ADMIN),
        (
            "controller-manager",
            ("system:kube-controller-manager", None),
        ),
        ("scheduler", ("system:kube-scheduler", None)),
    ] {
        config(
            name,
            subject.0,
            HERE,
            &holds(&root.sign(subject, Vec::new())?),
        );
    }
    let renewed =
        format!("    client-certificate: {KUBELET_LINK}\n    client-key: {KUBELET_LINK}\n");
    config("kubelet", &format!("system:node:{host}"), HERE, &renewed);
    let (kind, server) = (
        format!("kind-{cluster}"),
        format!("https://127.0.0.1:{port}"),
    );
    let kubeconfig = kubeconfig(&kind, &kind, &server, &root.certificate, &holds(&admin));
    Ok(Pki {
        files,
        authority: root.certificate,
        kubeconfig,
    })
}

/// The authorities, and the certificates of the API server and of etcd, each with its key.
fn pairs(root: &Authority, host: &str, node: &str) -> Result<Vec<File>, rcgen::Error> {
    let (etcd, front) = (
        Authority::new("etcd-ca")?,
        Authority::new("front-proxy-ca")?,
    );
    let mut files = Vec::new();
    let mut pair = |name: &str, certificate: &str, key: &str| {
        let path = format!("{DIRECTORY}/{name}");
        files.push((format!("{path}.crt"), 0o644, certificate.to_owned()));
        files.push((format!("{path}.key"), 0o600, key.to_owned()));
    };
    for (name, authority) in [("ca", root), ("etcd/ca", &etcd), ("front-proxy-ca", &front)] {
        pair(name, &authority.certificate, &authority.key);
    }
    let own = own_names(host, node)?;
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let api = [own.clone(), sans(&service, &[KUBERNETES.into()])?].concat();
    let nobody = Vec::new;
    for (name, authority, subject, names) in [
        ("apiserver", root, ("kube-apiserver", None), api),
        ("apiserver-kubelet-client", root, KUBELETS, nobody()),
        (
            "front-proxy-client",
            &front,
            ("front-proxy-client", None),
            nobody(),
        ),
        ("etcd/server", &etcd, (host, None), own.clone()),
        ("etcd/peer", &etcd, (host, None), own),
        (
            "etcd/healthcheck-client",
            &etcd,
            ("kube-etcd-healthcheck-client", None),
            nobody(),
        ),
        (
            "apiserver-etcd-client",
            &etcd,
            ("kube-apiserver-etcd-client", None),
            nobody(),
        ),
    ] {
        let signed = authority.sign(subject, names)?;
        pair(name, &signed.certificate, &signed.key);
    }
    Ok(files)
}

/// What the kubelet is known by to the API server, and what it serves with.
fn of_kubelet(root: &Authority, host: &str, node: &str) -> Result<[File; 3], rcgen::Error> {
    let name = format!("system:node:{host}");
    let client = root.sign((&name, Some("system:nodes")), Vec::new())?;
    let server = root.sign((host, None), own_names(host, node)?)?;
    let path = |name: &str| format!("var/lib/kubelet/pki/{name}");
    // The kubelet renews its own under another name, to which its link then points.
    let both = format!("{}{}", client.certificate, client.key);
    Ok([
        (path(KUBELET_CLIENT), 0o600, both),
        (path("kubelet.crt"), 0o644, server.certificate),
        (path("kubelet.key"), 0o600, server.key),
    ])
}

/// What a node is called from within and, on Docker's network, from beside.
fn own_names(host: &str, node: &str) -> Result<Vec<SanType>, rcgen::Error> {
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    sans(&["localhost", host, node], &loopback)
}

/// The file of the kubelet's own certificate, in its directory.
pub const KUBELET_CLIENT: &str = "kubelet-client-first.pem";
/// Where the kubelet looks for it: a link.
pub const KUBELET_LINK: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

impl Authority {
    fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = params((name, None), Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate()?;
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    fn sign(&self, subject: Subject<'_>, names: Vec<SanType>) -> Result<Signed, rcgen::Error> {
        let mut params = params(subject, names);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        Ok(Signed {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params((name, group): Subject<'_>, names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = names;
    // From a day before: another machine's clock may be late.
    let day = |days: i64| {
        let day = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let day = day.saturating_add(days.days());
        date_time_ymd(
            i32::from(day.year()),
            day.month().cast_unsigned(),
            day.day().cast_unsigned(),
        )
    };
    (params.not_before, params.not_after) = (day(-1), day(DAYS));
    params
}

fn sans(names: &[&str], addresses: &[IpAddr]) -> Result<Vec<SanType>, rcgen::Error> {
    let names = names
        .iter()
        .map(|name| Ok(SanType::DnsName((*name).try_into()?)));
    let addresses = addresses
        .iter()
        .map(|address| Ok(SanType::IpAddress(*address)));
    names.chain(addresses).collect()
}

/// The part of a kubeconfig that says who somebody is.
fn holds(signed: &Signed) -> String {
    format!(
        "    client-certificate-data: {}\n    client-key-data: {}\n",
        base64(&signed.certificate),
        base64(&signed.key)
    )
}

fn kubeconfig(cluster: &str, user: &str, server: &str, authority: &str, who: &str) -> String {
    let authority = base64(authority);
    let context = if cluster == user {
        user.to_owned()
    } else {
        format!("{user}@{cluster}")
    };
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\npreferences: {{}}\n\
         clusters:\n- name: {cluster}\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
         contexts:\n- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n\
         users:\n- name: {user}\n  user:\n{who}"
    )
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_has_authorities_and_keys_of_its_own() {
        let one = make("one", "host", "one-control-plane", 1).expect("certificates");
        let two = make("one", "host", "one-control-plane", 1).expect("certificates");
        assert_eq!(one.files.len(), two.files.len());
        for ((path, _, text), (_, _, other)) in one.files.iter().zip(&two.files) {
            assert_ne!(text, other, "{path} is the same in two clusters");
        }
        assert_ne!(one.authority, two.authority);
    }

    #[test]
    fn what_holds_a_key_is_private_and_all_that_kubeadm_makes_is_there() {
        let pki = make("one", "host", "one-control-plane", 40000).expect("certificates");
        for (path, mode, text) in &pki.files {
            let secret = text.contains("PRIVATE KEY") || text.contains("client-key");
            assert!(!secret || *mode == 0o600, "{path} has mode {mode:o}");
        }
        let paths: Vec<_> = pki.files.iter().map(|(path, ..)| path.as_str()).collect();
        for path in [
            "etc/kubernetes/pki/apiserver.crt",
            "etc/kubernetes/pki/sa.pub",
            "etc/kubernetes/pki/etcd/peer.key",
            "etc/kubernetes/kubelet.conf",
            "etc/kubernetes/admin.conf",
        ] {
            assert!(paths.contains(&path), "{path} is missing");
        }
        assert!(pki.kubeconfig.contains("server: https://127.0.0.1:40000"));
        assert!(pki.kubeconfig.contains("current-context: kind-one\n"));
    }
}
