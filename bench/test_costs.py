"""Tests of what figures are made from counts: python3 -m unittest discover bench."""

import unittest

from drive import costs, stores


class Reading(unittest.TestCase):
    def test_the_totals_of_the_s3_server_are_read(self):
        found = stores.totals("put 12 8000 0\nget 3 0 500\n")
        self.assertEqual(found["put/requests"], 12)
        self.assertEqual(found["get/bytes_out"], 500)

    def test_metrics_are_summed_over_the_labels_that_are_not_asked_for(self):
        found = stores.metrics(
            '# HELP requests_total of all\nrequests_total{class="flush",operation="put"} 7\n'
            'requests_total{class="tail_read",operation="get"} 2\nrequests_total{class="recovery",operation="get"} 1\nrequests 5\n')
        self.assertEqual(stores.summed(found, "requests_total", 'operation="get"'), 3)
        self.assertEqual(stores.summed(found, "requests_total"), 10)

    def test_the_steady_half_of_a_kafka_producer_counts(self):
        line = "{} records sent, {} records/sec ({} MB/sec), 80.1 ms avg latency, 300.0 ms max latency.\n"
        text = "".join(line.format(1000, rate, rate) for rate in ("1.00", "2.00", "10.00", "20.00"))
        text += "4000 records sent, 9.00 records/sec (9.00 MB/sec), 80.1 ms avg latency, 300.0 ms max latency, 70 ms 50th.\n"
        self.assertAlmostEqual(costs.steady(text)["megabytes_per_second"], 15 * 1.048576)
        self.assertIsNone(costs.steady("")["megabytes_per_second"])


class Costs(unittest.TestCase):
    def test_a_flush_of_two_rows_a_shard_and_one_for_the_object_meets_the_aim(self):
        idle = {"seconds": 10, "postgres": {"transactions": 20, "wal_bytes": 1000, "brokers/updated": 7}}
        loaded = {"seconds": 20, "postgres": {
            "objects/inserted": 5, "manifests/inserted": 50, "shards/updated": 50, "brokers/updated": 14,
            "transactions": 45, "wal_bytes": 52_000,
        }}
        found = costs.per_commit(loaded, idle)
        self.assertEqual((found["shards_per_flush"], found["rows_per_flush"], found["rows_by_aim"]), (10, 21, 1))
        self.assertEqual((found["transactions_per_flush"], found["wal_bytes_per_flush"]), (1, 10_000))

    def test_requests_are_counted_by_the_server_and_held_against_our_own_count(self):
        counted = {
            "s3": {"put/requests": 100, "part/requests": 20, "get/requests": 80, "put/bytes_in": 5},
            "ours": {"put/requests": 120, "get/requests": 78}, "postgres": {"transactions": 40},
        }
        found = costs.per_gibibyte(counted, 2 * costs.GIBIBYTE)
        self.assertEqual((found["put_per_gibibyte"], found["get_per_gibibyte"]), (60, 40))
        self.assertEqual(found["transactions_per_gibibyte"], 20)
        self.assertAlmostEqual(found["ours_by_theirs"], 0.99)

    def test_an_idle_minute_is_an_idle_hour_by_sixty(self):
        counts = {"transactions": 10, "brokers/updated": 4, "wal_bytes": 100}
        found = costs.per_hour({"seconds": 60, "s3": {}, "postgres": counts})
        self.assertEqual(found, {"requests": 0, "transactions": 600, "rows": 240, "wal_bytes": 6000})

    def test_a_takeover_ends_with_a_record_that_was_sent_after_the_kill(self):
        lines = ["0 9.0 10.5", "0 10.1 14.0", "0 10.2 13.5", "1 10.1 10.2", "2 9.9 12.0"]
        found = costs.takeover(lines, {0: 1, 1: 2, 2: 1}, killed=1, killed_at=10.0)
        self.assertEqual(found, {0: 3.5, 2: None})


if __name__ == "__main__":
    unittest.main()
