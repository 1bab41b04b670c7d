//! What `docker/` starts, without an engine. `brokers`: the compose file. Here: the container image, exactly the ENTRYPOINT,
//! CMD and ENV of `docker/Dockerfile`, with the binary that was built. Two things differ from a container: the volume is a
//! folder of the test, and ports that are taken on this machine are replaced by free ones wherever the environment names
//! them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod brokers;
mod cluster;
mod compose;
#[path = "../wire/connection.rs"]
mod connection;
mod container;
mod image;
mod network;
mod stores;
mod wire;

use container::Container;
use image::Image;
use wire::Client;

/// The setting that lets a plaintext listener reach beyond the machine.
const ALLOWED: &str = "STREAMHOUSE_LISTENER__ALLOW_PLAINTEXT_BEYOND_LOOPBACK";

/// `EX_CONFIG`.
const SETTINGS_ARE_WRONG: i32 = 78;

#[test]
fn the_image_serves_its_clients_and_keeps_their_records_in_its_volume() {
    let image = Image::of_this_checkout();
    let volume = tempfile::tempdir().unwrap();
    let first = Container::run(&image, volume.path(), &[]).unwrap();
    let mut client = Client::connect(first.kafka);
    assert_eq!(
        client.advertised("orders"),
        ("localhost".to_owned(), i32::from(first.kafka))
    );
    client.produce("orders", b"a dozen eggs");
    assert_eq!(client.fetch("orders"), b"a dozen eggs");
    assert_eq!(wire::http_status(first.metrics, "/readyz"), 200);
    assert!(
        first.stop().success(),
        "docker stop ends it with exit code 0"
    );

    let second = Container::run(&image, volume.path(), &[]).unwrap();
    assert_eq!(
        Client::connect(second.kafka).fetch("orders"),
        b"a dozen eggs"
    );
    assert!(second.stop().success());
}

#[test]
fn an_advertised_address_in_kafkas_words_replaces_the_images() {
    let volume = tempfile::tempdir().unwrap();
    let told = [(
        "KAFKA_ADVERTISED_LISTENERS",
        "PLAINTEXT://kafka.example:19092",
    )];
    let container = Container::run(&Image::of_this_checkout(), volume.path(), &told).unwrap();
    let advertised = Client::connect(container.kafka).advertised("orders");
    assert_eq!(advertised, ("kafka.example".to_owned(), 19092));
    assert!(container.stop().success());
}

#[test]
fn without_its_setting_the_image_would_be_refused() {
    let mut image = Image::of_this_checkout();
    image.environment.retain(|(name, _)| name != ALLOWED);
    let volume = tempfile::tempdir().unwrap();
    let ended = Container::run(&image, volume.path(), &[]).unwrap_err();
    assert_eq!(
        ended.status.code(),
        Some(SETTINGS_ARE_WRONG),
        "{}",
        ended.errors
    );
    assert!(
        ended.errors.contains("allow_plaintext_beyond_loopback"),
        "{}",
        ended.errors
    );
}

#[test]
fn the_image_runs_the_copied_binary_without_rights_on_a_volume_of_its_own() {
    let image = Image::of_this_checkout();
    assert_eq!(image.copied.as_deref(), Some("/usr/local/bin/streamhouse"));
    assert_eq!(image.entrypoint, ["streamhouse"]);
    let user = image
        .user
        .as_deref()
        .and_then(|user| user.split(':').next());
    let number: Option<u32> = user.and_then(|user| user.parse().ok());
    assert!(
        number.is_some_and(|number| number != 0),
        "a number other than 0: {:?}",
        image.user
    );
    assert_eq!(
        image.volume.as_deref(),
        image.variable("STREAMHOUSE_STORAGE__DATA_DIR")
    );
    assert_eq!(image.ports, [9092, 9644]);
}
