//! Addresses as users write them.

use proptest::prelude::*;

use super::*;

fn listeners(text: &str) -> Result<Vec<Listener>, String> {
    Vec::<Listener>::read(text)
}

#[test]
fn kafkas_forms_of_addresses_are_read() {
    let read =
        listeners("plaintext://:9092, INTERNAL://[::1]:19092,X_1-2.y://host.example:0").unwrap();
    let found: Vec<_> = read
        .iter()
        .map(|l| (l.name.as_str(), l.address.host.as_str(), l.address.port))
        .collect();
    let expect = [
        ("PLAINTEXT", "", 9092),
        ("INTERNAL", "::1", 19092),
        ("X_1-2.Y", "host.example", 0),
    ];
    assert_eq!(found, expect);
}

#[test]
fn malformed_addresses_are_refused_by_name() {
    for text in [
        "localhost:9092",
        "PLAINTEXT://localhost",
        "PLAINTEXT://localhost:65536",
        "PLAINTEXT://::1:9092",
        "PLAINTEXT://[::1:9092",
        "PLAINTEXT://::1]:9092",
        "://localhost:1",
        "A B://localhost:1",
        "A://http://x:1",
        "A://x:",
        "A://x:-1",
    ] {
        let error = listeners(text).unwrap_err();
        assert!(error.starts_with('"'), "{text:?}: {error}");
    }
}

#[test]
fn localhost_binds_both_loopback_addresses_and_may_miss_the_second() {
    let hosts = |host: &str| HostPort::new(host, 1).bind_hosts();
    let both = hosts("localhost");
    let found: Vec<_> = both
        .iter()
        .map(|bind| (bind.host.as_str(), bind.is_optional))
        .collect();
    assert_eq!(found, [("127.0.0.1", false), ("::1", true)]);
    assert_eq!(hosts("")[0].host, "0.0.0.0");
    assert_eq!(
        hosts("::1"),
        [BindHost {
            host: "::1".to_owned(),
            is_optional: false
        }]
    );
}

#[test]
fn protocols_are_kafkas_four() {
    let read = Vec::<ListenerProtocol>::read("internal:plaintext,B:SASL_SSL").unwrap();
    assert_eq!(read.write(), "INTERNAL:PLAINTEXT,B:SASL_SSL");
    assert!(Vec::<ListenerProtocol>::read("A:TLS").is_err());
    assert!(Vec::<ListenerProtocol>::read("A").is_err());
}

proptest! {
    #![proptest_config(crate::test_scale::cases())]

    #[test]
    fn what_is_read_is_written_back(text in "(A|b|X_1)://(|localhost|[::1]|h[a-z.]{0,5}|\\PC{0,5}):[0-9]{1,6}") {
        if let Ok(read) = listeners(&text) {
            prop_assert_eq!(listeners(&read.write()).unwrap(), read);
        }
    }

    #[test]
    fn any_text_is_an_address_or_refused(text in "\\PC{0,30}") {
        if let Ok(Some(address)) = Option::<HostPort>::read(&text) {
            prop_assert_eq!(HostPort::parse(&address.to_string()).unwrap(), address);
        }
    }
}

/// Found by bending addresses: what was written could not be read again, so a dumped configuration was refused.
#[test]
fn a_bracket_is_no_part_of_a_host() {
    for text in ["[]]:9", "[[]:9", "[*s1]]:9092"] {
        assert!(Option::<HostPort>::read(text).is_err(), "{text}");
    }
}
