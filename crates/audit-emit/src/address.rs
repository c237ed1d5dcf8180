//! Where a relay may listen: on this machine only, since it asks nobody who they are.

use std::net::SocketAddr;

/// Reads an address that only this machine, or this Pod, can reach.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address: SocketAddr = numeric
        .parse()
        .map_err(|_| "give 127.0.0.1:PORT or [::1]:PORT".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "other machines reach {}, and the relay asks nobody who they are; give 127.0.0.1:{} and run it beside the service",
            address.ip(),
            address.port()
        ))
    }
}
