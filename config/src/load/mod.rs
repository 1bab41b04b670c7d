//! Loading: from files, environment and command line to checked settings, with the origin of every value.
//!
//! From weak to strong: defaults, profile, files in their order, `KAFKA_*` variables, `STREAMHOUSE_*` variables,
//! `--set`. Nothing is half loaded: either all values are good, or every problem is told at once.
//!
//! Reading order: [`source`] (who set what), [`properties`], [`native`], [`environment`] and [`assignment`] (the
//! syntaxes), [`merge`] (which one wins), [`provenance`] (who set what, afterwards).

pub mod assignment;
pub mod environment;
pub mod merge;
pub mod native;
pub mod properties;
pub mod provenance;
pub mod source;
pub mod suggest;

use std::io::Read;
use std::path::Path;

use crate::check::check;
use crate::settings::Settings;
use provenance::Provenance;
use source::{Gathered, Layer, Note, Origin, Problem, Problems};

/// The largest settings file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Which defaults apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A broker that is meant to stay.
    #[default]
    Serve,
    /// A broker on a developer's machine: the first consumer of a group does not wait for others.
    Dev,
}

/// How a settings file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `streamhouse.toml`.
    Toml,
    /// Kafka's `server.properties`.
    Properties,
}

impl Syntax {
    /// The syntax of a file, by its extension.
    fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Some(Self::Toml),
            Some("properties") => Some(Self::Properties),
            Some(_) | None => None,
        }
    }
}

/// Settings, and how they came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, checked.
    pub settings: Settings,
    /// Who set what.
    pub provenance: Provenance,
    /// What the user should know: keys without effect, keys that nobody knows.
    pub notes: Vec<Note>,
}

/// Gathers what files, environment and command line say.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    gathered: Gathered,
    files: usize,
}

impl Loader {
    /// Begins with the defaults of a profile.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let mut loader = Self::default();
        match profile {
            Profile::Serve => {}
            Profile::Dev => loader.gathered.native(
                "coordinator.group_initial_rebalance_delay",
                "0ms",
                Origin::new(Layer::Profile, "profile dev".to_owned()),
            ),
        }
        loader
    }

    /// Sets `section.field` weaker than every other source, for commands that have their own default, such as the
    /// data folder of `streamhouse dev`. `place` says where the value comes from.
    #[must_use]
    pub fn default_value(mut self, path: &str, value: &str, place: &str) -> Self {
        self.gathered
            .native(path, value, Origin::new(Layer::Profile, place.to_owned()));
        self
    }

    /// Sets `section.field` as strongly as `--set`, for flags such as `--port`. `place` names the flag.
    #[must_use]
    pub fn flag(mut self, path: &str, value: &str, place: &str) -> Self {
        self.gathered.native(
            path,
            value,
            Origin::new(Layer::CommandLine, place.to_owned()),
        );
        self
    }

    /// Reads a file; the extension (`toml` or `properties`) says how it is written. Files given later win.
    #[must_use]
    pub fn file(mut self, path: &Path) -> Self {
        let name = path.display().to_string();
        let Some(syntax) = Syntax::of(path) else {
            self.gathered.problem(Problem::of_source(
                &name,
                "its name ends neither in .toml nor in .properties, so its syntax is unknown; rename it",
            ));
            return self;
        };
        match read_bounded(path) {
            Ok(text) => self.text(&name, syntax, &text),
            Err(reason) => {
                self.gathered.problem(Problem::of_source(&name, &reason));
                self
            }
        }
    }

    /// Takes the text of a file called `name`. Files given later win.
    #[must_use]
    pub fn text(mut self, name: &str, syntax: Syntax, text: &str) -> Self {
        let layer = Layer::File(self.files);
        self.files += 1;
        match syntax {
            Syntax::Toml => native::gather(name, text, layer, &mut self.gathered),
            Syntax::Properties => properties::gather(name, text, layer, &mut self.gathered),
        }
        self
    }

    /// Takes environment variables: `KAFKA_*`, `CLUSTER_ID` and `STREAMHOUSE_*`; others are ignored.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        environment::gather(variables, &mut self.gathered);
        self
    }

    /// Takes a `key=value` of the command line; the key is `section.field` or a Kafka key.
    #[must_use]
    pub fn set(mut self, assignment: &str) -> Self {
        assignment::gather(assignment, &mut self.gathered);
        self
    }

    /// Decides which value wins for every setting, and checks them all.
    ///
    /// # Errors
    /// Every problem that was found, from every source.
    pub fn load(self) -> Result<Loaded, Problems> {
        let mut merged = merge::merge(self.gathered);
        merged.problems.extend(check(&merged.settings));
        if merged.problems.is_empty() {
            Ok(Loaded {
                settings: merged.settings,
                provenance: merged.provenance,
                notes: merged.notes,
            })
        } else {
            Err(Problems(merged.problems))
        }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path)
        .map_err(|error| format!("it cannot be opened: {error}; name a file that can be read"))?;
    let mut text = String::new();
    let read = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("it cannot be read as UTF-8 text: {error}"))?;
    if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err("it is larger than 1 MiB, so it is no settings file; check the path".into())
    }
}

#[cfg(test)]
mod tests;
