//! What a broker keeps on its own machine: a data folder with `local` durability, nothing with `shared`.

use streamhouse_config::Settings;
use streamhouse_runtime::Ambient;

use super::StartError;
use crate::data_dir::DataDir;

/// The home of a broker.
#[derive(Debug)]
pub(super) enum Home {
    /// A data folder, which one process at a time uses: the WAL, the metadata, and the objects unless they are elsewhere.
    Folder(DataDir),
    /// All is in PostgreSQL and in the object store: any machine will do.
    Nowhere,
}

impl Home {
    /// Opens and locks the data folder, if the broker has one.
    pub(super) fn open(settings: &Settings, ambient: &Ambient) -> Result<Self, StartError> {
        if !settings.metadata.url.is_empty() {
            return Ok(Self::Nowhere);
        }
        let wanted = settings.broker.cluster_id.as_deref();
        let path = &settings.storage.data_dir;
        Ok(Self::Folder(DataDir::open(path, wanted, &*ambient.chance)?))
    }

    /// The data folder, if there is one.
    pub(super) fn folder(&self) -> Option<&DataDir> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Nowhere => None,
        }
    }

    /// Everything was opened: from now on a part that is missing was lost.
    pub(super) fn complete(&mut self) -> Result<(), StartError> {
        match self {
            Self::Folder(folder) => Ok(folder.complete()?),
            Self::Nowhere => Ok(()),
        }
    }
}
