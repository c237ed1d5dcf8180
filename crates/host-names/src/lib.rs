//! Host names looked up by the machine's own program, where a static program cannot do it by itself.
//!
//! A program that is linked statically has glibc's look-up by files and DNS in it. For any other service that nsswitch.conf(5) names it
//! loads the machine's module, and ends by a signal where that is of another version than the library in it. There `getent` is asked
//! instead: it knows every service of the machine. This library starts no process: a program says how `getent` is run.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// The program that is asked; it belongs to the C library.
pub const PROGRAM: &str = "getent";
/// What it is asked for, before the name.
pub const QUESTION: &str = "ahosts";
/// Where a machine says how its names are looked up.
pub const SERVICES: &str = "/etc/nsswitch.conf";

/// Runs [`PROGRAM`] with [`QUESTION`] and a name, for no longer than a look-up may take, and returns what it printed.
type Ask = Arc<dyn Fn(&str) -> io::Result<String> + Send + Sync>;

/// Looks names up by [`PROGRAM`], each once.
#[derive(Clone)]
pub struct Names {
    ask: Ask,
    known: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
}

/// The services that this program would have to load to look a name up on this machine: none in one that is linked dynamically.
pub fn services_to_load() -> Vec<String> {
    if !cfg!(target_feature = "crt-static") {
        return Vec::new();
    }
    foreign(&std::fs::read_to_string(SERVICES).unwrap_or_default())
}

/// The services for host names in nsswitch.conf(5) besides those that are in the C library.
fn foreign(configured: &str) -> Vec<String> {
    let hosts = configured
        .lines()
        .find_map(|line| line.trim().strip_prefix("hosts:"))
        .unwrap_or_default();
    let hosts = hosts.split('#').next().unwrap_or_default();
    let mut open = false;
    let services = hosts.split_whitespace().filter(|word| {
        let of_action = open || word.starts_with('[');
        open = of_action && !word.ends_with(']');
        !of_action && !["files", "dns"].contains(word)
    });
    services.map(str::to_owned).collect()
}

impl Names {
    /// Looks up by `ask`, which runs [`PROGRAM`] with [`QUESTION`] and a name and returns what it prints. `None` where the C library in
    /// this program can do it.
    pub fn of_machine(
        ask: impl Fn(&str) -> io::Result<String> + Send + Sync + 'static,
    ) -> Option<Self> {
        (!services_to_load().is_empty()).then(|| Self::by(ask))
    }

    fn by(ask: impl Fn(&str) -> io::Result<String> + Send + Sync + 'static) -> Self {
        Self {
            ask: Arc::new(ask),
            known: Arc::default(),
        }
    }

    /// The addresses of a name in the machine's order, at least one; an address is its own.
    pub fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = known.get(name) {
            return Ok(addresses.clone());
        }
        let unknown = |why: &dyn fmt::Display| {
            let what = format!("no address is known of the host {name:?}: {why}");
            io::Error::new(io::ErrorKind::NotFound, what)
        };
        // What begins so would be an option.
        if name.is_empty() || name.starts_with('-') {
            return Err(unknown(&"that is no name of a host"));
        }
        let addresses = addresses((self.ask)(name).map_err(|error| unknown(&error))?.as_str());
        if addresses.is_empty() {
            return Err(unknown(&format_args!("{PROGRAM} printed none")));
        }
        known.insert(name.to_owned(), addresses.clone());
        Ok(addresses)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// What `getent ahosts` prints: a line for each kind of socket of each address.
fn addresses(printed: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in printed.lines() {
        let address = line.split_whitespace().next();
        if let Some(Ok(address)) = address.map(str::parse)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let place = uri.scheme().zip(uri.authority());
        let place = place.and_then(|(scheme, at)| DefaultResolver::host_and_port(scheme, at));
        let place = place.as_deref().and_then(|place| place.rsplit_once(':'));
        let (name, port) = place.ok_or(ureq::Error::HostNotFound)?;
        let port = port.parse().map_err(|_| ureq::Error::HostNotFound)?;
        let addresses = self.look_up(name.trim_matches(['[', ']']))?.into_iter();
        let addresses = addresses.map(|address| SocketAddr::new(address, port));
        let mut found = self.empty();
        for address in config.ip_family().keep_wanted(addresses) {
            if found.try_push(address).is_err() {
                break;
            }
        }
        if found.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(found)
    }
}

/// An agent that looks its hosts up by `names`, or by the C library where there are none.
pub fn agent(config: ureq::config::Config, names: Option<Names>) -> ureq::Agent {
    match names {
        Some(names) => ureq::Agent::with_parts(config, DefaultConnector::default(), names),
        None => config.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_services_besides_files_and_dns_are_what_would_have_to_be_loaded() {
        let foreign = |hosts: &str| foreign(&format!("passwd: files systemd\n{hosts}\n"));
        for plain in [
            "",
            "hosts: files dns",
            "hosts: files [NOTFOUND=return] dns # mdns",
            "hosts:\tdns [!UNAVAIL=return SUCCESS=return] files",
        ] {
            assert_eq!(foreign(plain), [""; 0], "{plain}");
        }
        let desktop =
            "hosts: mymachines mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] files dns";
        assert_eq!(foreign(desktop), ["mymachines", "mdns4_minimal", "resolve"]);
    }

    #[test]
    fn a_name_is_asked_for_once_and_an_address_never() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let names = Names::by(move |name| {
            assert_eq!(name, "db.test");
            count.fetch_add(1, Ordering::Relaxed);
            Ok("2001:db8::1     STREAM db.test\n2001:db8::1     DGRAM  \n192.0.2.7       STREAM \nfe80::1%eth0 STREAM\n".to_owned())
        });
        let expected: [IpAddr; 2] = [
            "2001:db8::1".parse().expect("an address"),
            "192.0.2.7".parse().expect("an address"),
        ];
        for _ in 0..2 {
            assert_eq!(names.look_up("db.test").expect("addresses"), expected);
        }
        assert_eq!(names.look_up("192.0.2.7").expect("itself"), expected[1..]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_has_no_address_is_an_error_with_its_name_and_no_option_of_the_program() {
        let names = Names::by(|name| match name {
            "silent.test" => Ok(String::new()),
            "absent.test" => Err(io::Error::other("it ended with 2")),
            other => panic!("asked for {other}"),
        });
        for (name, why) in [
            ("silent.test", "getent printed none"),
            ("absent.test", "it ended with 2"),
            ("-s", "no name of a host"),
            ("", "no name of a host"),
        ] {
            let error = names.look_up(name).expect_err(name).to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_request_goes_to_the_address_that_was_told_under_the_name_that_was_given() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut heard = [0; 1024];
            let read = stream.read(&mut heard).expect("a request");
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .expect("an answer");
            String::from_utf8_lossy(&heard[..read]).to_lowercase()
        });
        let names = Names::by(|_| Ok("127.0.0.1 STREAM manifests.invalid\n".to_owned()));
        let config = ureq::Agent::config_builder().proxy(None).build();
        let answer = agent(config, Some(names))
            .get(format!("http://manifests.invalid:{port}/"))
            .call()
            .expect("an answer");
        assert_eq!(answer.status(), 204);
        let heard = heard.join().expect("it ends");
        assert!(
            heard.contains(&format!("host: manifests.invalid:{port}")),
            "{heard}"
        );
    }
}
