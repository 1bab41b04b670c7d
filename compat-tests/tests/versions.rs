//! Every advertised version of every API answers as Apache Kafka does.

use anyhow::Result;

#[test]
fn every_advertised_version_is_answered_as_kafka_answers() -> Result<()> {
    streamhouse_compat_tests::versions::compare()
}

#[test]
fn every_field_that_is_altered_is_found() -> Result<()> {
    streamhouse_compat_tests::versions::find_what_is_altered()
}
