//! The reference page of the APIs, and their line in the README, made from the one table of them.

use std::fmt::Write as _;

use crate::api::Lane;
use crate::handlers::APIS;

/// `docs/reference/apis.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# APIs\n\n\
         Generated from the table in `broker/src/handlers/mod.rs`; a test fails when it is stale. What is not in this table is\n\
         neither advertised nor answered.\n\n\
         | key | API | versions | needs | runs |\n|---|---|---|---|---|\n",
    );
    for api in APIS {
        let needs = match api.operation {
            Some((operation, kind)) => format!("{operation:?} on {kind:?}"),
            None => "nothing".to_owned(),
        };
        let runs = match api.lane {
            Lane::Ordered => "one after the other",
            Lane::Pipelined => "staged in order, completed beside others",
            Lane::Parked => "waits for something to happen",
        };
        let (key, name, versions) = (api.key as i16, api.name, &api.versions);
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| {key} | {name} | {}-{} | {needs} | {runs} |",
            versions.start(),
            versions.end()
        );
    }
    page
}

/// How the line of the README begins that names the APIs.
#[cfg(test)]
const README_LINE: &str = "| APIs and versions |";

/// That line.
#[cfg(test)]
fn readme_line() -> String {
    let apis = APIS.iter().map(|api| {
        let (name, versions) = (api.name, &api.versions);
        format!("{name} {}-{}", versions.start(), versions.end())
    });
    let apis = apis.collect::<Vec<_>>().join(", ");
    format!("{README_LINE} {apis}: [docs/reference/apis.md](docs/reference/apis.md) |")
}

#[cfg(test)]
mod tests;
