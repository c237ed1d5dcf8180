//! The layers of an environment, by which it is used again (D15).

/// The layers at which an environment is used again (D15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Kind cluster: configuration and node image; the namespaces in a cluster that others use too.
    Cluster,
    /// The tunnel into a cluster that others use too: the image of its end there.
    Tunnel,
    /// The PostgreSQL server: image or binaries, settings.
    Postgres,
    /// The database: the migrations of the profile.
    Database,
    /// Data Storage: binary and configuration.
    DataStorage,
    /// The service or its fake: images and objects, or binary and configuration.
    Service,
    /// A part that services share.
    Part,
}

/// A layer: that of one service or part, or the one that all share.
#[derive(Clone, Copy, Debug)]
pub struct Level<'a> {
    /// What it is.
    pub layer: Layer,
    /// The name of the service or part that it is for.
    pub whose: Option<&'a str>,
}

impl From<Layer> for Level<'_> {
    fn from(layer: Layer) -> Self {
        Self { layer, whose: None }
    }
}

impl Level<'_> {
    /// Its name in the state file; each service has its own.
    pub fn key(self) -> String {
        match self.whose {
            Some(name) => format!("{}/{name}", self.layer.word()),
            None => self.layer.word().to_owned(),
        }
    }
}

impl Layer {
    /// Its name in the state file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Tunnel => "tunnel",
            Self::Postgres => "postgres",
            Self::Database => "database",
            Self::DataStorage => "datastorage",
            Self::Service => "service",
            Self::Part => "part",
        }
    }
}
