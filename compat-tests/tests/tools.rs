//! Apache Kafka's command line tools say of the real binary what they say of Kafka.

use anyhow::Result;

#[test]
fn every_tool_of_kafka_does_its_work() -> Result<()> {
    streamhouse_compat_tests::tools::play()
}
