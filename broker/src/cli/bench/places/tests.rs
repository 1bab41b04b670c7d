//! How partitions are shared out among connections.

use super::own_partitions;

#[test]
fn partitions_are_shared_out_once_if_there_are_enough() {
    let all: Vec<Vec<usize>> = (0..3).map(|index| own_partitions(7, 3, index)).collect();
    assert_eq!(all, [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
}

#[test]
fn connections_share_partitions_if_there_are_few() {
    let all: Vec<Vec<usize>> = (0..4).map(|index| own_partitions(2, 4, index)).collect();
    assert_eq!(all, [vec![0], vec![1], vec![0], vec![1]]);
    assert_eq!(own_partitions(1, 1, 0), [0]);
}
