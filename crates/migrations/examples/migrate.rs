//! The smallest program on the library: `migrate URL PROFILE`, or `migrate URL --dir PATH` for goose files.

use std::path::Path;

use migrations::{Catalogue, Config, Selection, apply};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let config = match arguments.as_slice() {
        [url, profile] => Config::new(url).profile(profile),
        [url, flag, directory] if flag == "--dir" => Config::new(url)
            .select(Selection::all())
            .catalogue(Catalogue::from_goose_dir("example", Path::new(directory))?),
        _ => return Err("usage: migrate URL PROFILE, or migrate URL --dir PATH".into()),
    };
    apply(&config.log_to(std::io::stderr())).await?;
    Ok(())
}
