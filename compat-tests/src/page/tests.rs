//! The page as it must be when every cell works that no client excludes. The versions are the page's own: only a run of the
//! whole matrix knows which are installed.

use anyhow::{Context, Result};

use super::{compare, file, text};
use crate::clients;
use crate::matrix::{Cell, Column, Outcome};
use crate::scenarios::SCENARIOS;

#[test]
fn the_page_has_every_client_every_scenario_and_every_limitation() -> Result<()> {
    let page = std::fs::read_to_string(file()?)?;
    let version = |title: &str| {
        let row = format!("| {title} | ");
        let version = page.lines().find_map(|line| line.strip_prefix(&row));
        let version = version.and_then(|rest| rest.strip_suffix(" |"));
        version
            .map_or("not installed", |version| version)
            .to_owned()
    };
    let columns: Vec<Column> = clients::all()
        .context("the clients' names need no installation")?
        .into_iter()
        .map(|client| Column {
            version: Ok(version(client.title())),
            client,
        })
        .collect();
    let cells: Vec<Cell> = columns
        .iter()
        .flat_map(|column| SCENARIOS.iter().map(|scenario| cell(column, scenario.name)))
        .collect();
    compare(&text(&columns, &cells)?)
}

fn cell(column: &Column, scenario: &'static str) -> Cell {
    let client = column.client.as_ref();
    let outcome = match client.limitation(scenario) {
        Some(reason) => Outcome::Limited(reason),
        None => Outcome::Works(client.remark(scenario)),
    };
    Cell {
        scenario,
        client: client.name(),
        outcome,
    }
}
