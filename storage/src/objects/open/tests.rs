//! What the settings open.

use streamhouse_config::s3::S3Settings;
use streamhouse_config::value::Value;
use streamhouse_config::{Settings, StorageUrl, StoreEndpoint};
use streamhouse_runtime::Ambient;

use super::place;
use crate::objects::{Objects, S3Limits};

fn open(url: StorageUrl, in_data_dir: &std::path::Path) -> Objects {
    let s3 = S3Settings::default();
    Objects::open(&url, &s3, in_data_dir, Ambient::system()).expect("opened")
}

#[test]
fn each_url_opens_its_own_kind_of_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (inside, elsewhere) = (folder.path().join("objects"), folder.path().join("other"));
    let objects = open(StorageUrl::DataDir, &inside);
    assert_eq!(objects.place(), inside.display().to_string());
    let objects = open(StorageUrl::Folder(elsewhere.clone()), &inside);
    assert_eq!(objects.place(), elsewhere.display().to_string());
    assert!(elsewhere.is_dir());
}

#[test]
fn the_settings_say_what_the_client_does_without_them() {
    let settings = Settings::default().s3;
    assert_eq!(S3Limits::from(&settings), S3Limits::default());
}

#[test]
fn the_settings_name_the_place() {
    let mut settings = S3Settings::default();
    let there = place("events", "a/b", &settings);
    assert_eq!(there.to_string(), "s3://events/a/b");
    assert!(!there.is_virtual_hosted);
    assert_eq!((there.endpoint, there.region), (None, None));
    settings.endpoint = Option::<StoreEndpoint>::read("http://minio:9000").expect("an endpoint");
    settings.region = Some("eu-west-1".to_owned());
    settings.path_style = false;
    let there = place("events", "", &settings);
    assert_eq!(there.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(there.region.as_deref(), Some("eu-west-1"));
    assert!(there.is_virtual_hosted);
}
