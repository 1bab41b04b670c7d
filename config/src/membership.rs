//! Settings of the membership: how several brokers on one database divide the shards.

use std::time::Duration;

use crate::section::section;

section! {
    /// How several brokers on one database divide the shards. Without effect on a broker with the embedded database, which is
    /// alone.
    "membership" => MembershipSettings {
        /// How long this broker counts as alive after its last heartbeat. Shorter gives the partitions of a dead broker to
        /// others earlier; a pause of the broker, the network or the database that lasts longer makes it lose its own.
        lease: Duration = Duration::from_secs(5),
            min Duration::from_millis(100), max Duration::from_secs(300), since "0.1";

        /// How often the lease is renewed, and other brokers are looked at. Each time is one write and three reads of the
        /// database. At most half the lease, so that one lost heartbeat costs nothing.
        heartbeat_interval: Duration = Duration::from_millis(1500),
            min Duration::from_millis(10), max Duration::from_secs(150), since "0.1";

        /// How long a shard that holds records or groups stays with its leader before it may move to even out the number of
        /// shards. Each move makes its producers and consumers look for the new leader. A dead leader's shards move at once,
        /// and so do those of a broker that started less than this ago: brokers that start together share them soon.
        shard_stay_min: Duration = Duration::from_secs(60),
            max Duration::from_secs(86_400), since "0.1";
    }
}
