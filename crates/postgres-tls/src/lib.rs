//! TLS to PostgreSQL with rustls, as libpq's `sslmode` and `sslrootcert` have it (PostgreSQL manual, "SSL Support").
//!
//! [`Tls`] says how much TLS there is and what it proves; [`Connector`] is that for the driver: a
//! [`MakeTlsConnect`](tokio_postgres::tls::MakeTlsConnect), and [`Connector::encrypt`] for a stream that is open already.
//! Client certificates are not supported.
//!
//! Modules, each may import those after it: `connector`, `verifier`, `binding`, `mode`

mod binding;
mod connector;
mod mode;
mod verifier;

pub use connector::{Connector, Encrypted};
pub use mode::{InvalidTls, Mode, Roots, Tls};
