//! Starts a server, prints its URL and stops it.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use embedded_postgres::{Options, Server, Wanted, locate};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let installation = locate(&Wanted::default())?;
    println!("{installation}");
    let server = Server::start(&installation, Options::default()).await?;
    println!("{}", server.url_without_password(server.database()));
    server.stop().await?;
    Ok(())
}
