//! The committed pages say what the code says.

use std::path::{Path, PathBuf};

use super::*;
use crate::load::{Loader, Profile, Syntax};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

#[track_caller]
fn is_fresh(path: &str, text: &str) {
    let path = repository().join(path);
    if std::env::var_os("STREAMHOUSE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is stale: run STREAMHOUSE_BLESS=1 cargo test -p streamhouse-config",
        path.display()
    );
}

#[test]
fn the_annotated_file_is_fresh() {
    is_fresh("config/streamhouse.toml", &reference_toml());
}

#[test]
fn the_page_of_settings_is_fresh() {
    is_fresh("docs/reference/config.md", &reference_markdown());
}

#[test]
fn the_page_of_topic_configs_is_fresh() {
    is_fresh(
        "docs/reference/topic-configs.md",
        &topic_reference_markdown(),
    );
}

#[test]
fn the_annotated_file_gives_the_defaults_with_and_without_its_comment_signs() {
    let text = reference_toml();
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            Some(_) | None => line,
        })
        .collect();
    let defaults = Settings::default();
    for text in [text.clone(), uncommented.join("\n")] {
        let loader = Loader::new(Profile::Serve).text("streamhouse.toml", Syntax::Toml, &text);
        let mut settings = loader.load().unwrap().settings;
        settings.topic_defaults = defaults.topic_defaults.clone();
        assert_eq!(settings, defaults);
    }
    assert_eq!(
        uncommented
            .iter()
            .filter(|line| line.contains(" = "))
            .count(),
        Settings::fields().len() + 3
    );
}

#[test]
fn every_example_loads() {
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("config/examples")).unwrap() {
        let path = entry.unwrap().path();
        let loaded = Loader::new(Profile::Serve).file(&path).load();
        let problems = loaded.map(|_| ()).map_err(|problems| problems.to_string());
        assert_eq!(problems, Ok(()), "{}", path.display());
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}
