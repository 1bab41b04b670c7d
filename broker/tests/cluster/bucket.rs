//! A bucket that says "perhaps".

use streamhouse_storage::s3_server::{S3Fault, S3Operation};

use crate::audit::close;
use crate::cluster::Cluster;
use crate::load::Load;
use crate::wait::{now, since};
use crate::{say, scaled};

const PARTITIONS: i32 = 6;

/// What one put in ten meets, in turn.
const AMBIGUOUS: &[S3Fault] = &[
    S3Fault::ErrorAfter,
    S3Fault::SlowDownAfter,
    S3Fault::SilenceAfter,
    S3Fault::Twice,
    S3Fault::SlowDownBefore,
    S3Fault::ErrorBefore,
    S3Fault::SilenceBefore,
    S3Fault::Refuse,
];

#[test]
fn uploads_that_happened_although_an_error_was_told_lose_and_double_nothing() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    let puts = u64::try_from(scaled(2_000)).unwrap();
    let faults = AMBIGUOUS.iter().cycle().flat_map(|fault| {
        let rest = std::iter::repeat_n(None, 9);
        std::iter::once(Some(*fault)).chain(rest)
    });
    cluster.create("puts", PARTITIONS);
    cluster
        .s3
        .script(S3Operation::Put, faults.take(scaled(2_000)));
    let before = cluster.s3.count(S3Operation::Put);
    let load = Load::begin(&cluster.ports, "puts", PARTITIONS, 6);
    let began = now();
    while cluster.s3.count(S3Operation::Put) < before + puts {
        load.until_more(1);
    }
    let took = since(began);
    close(&mut cluster, load);
    say(&format!(
        "{puts} uploads in {took:?}, one in ten with an outcome that was told wrongly or not at all"
    ));
}
