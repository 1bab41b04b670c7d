//! Settings of the listeners: where clients connect, and what one client may hold.

use std::time::Duration;

use crate::endpoint::{Listener, ListenerProtocol};
use crate::section::section;
use crate::size::ByteSize;

section! {
    /// Where clients connect, and the limits that keep one client from starving the others.
    "listener" => ListenerSettings {
        /// The addresses to bind, as `NAME://host:port`. The host `localhost` binds every loopback address of the
        /// machine (127.0.0.1 and, where it exists, ::1); an empty host or `0.0.0.0` binds all interfaces. Port 0
        /// takes a free port.
        listeners: Vec<Listener> = vec![Listener::plaintext("localhost", 9092)], since "0.1";

        /// The addresses that clients are told to connect to, one per listener name. When empty, the bound addresses
        /// are told (for all interfaces: the machine's host name). Set it when clients reach the broker by another
        /// name, as from outside a container.
        advertised: Vec<Listener> = Vec::new(), since "0.1";

        /// The security protocol of each listener name, as `NAME:PROTOCOL`. This release speaks PLAINTEXT only; a
        /// listener that needs another protocol is refused at start, so that nothing is served unprotected by
        /// mistake.
        protocols: Vec<ListenerProtocol> = ListenerProtocol::standard(), since "0.1";

        /// Allows plaintext listeners on addresses that other machines can reach. Anybody who reaches the port can
        /// then read, write and delete everything, so `serve` refuses such listeners while this is false.
        allow_plaintext_beyond_loopback: bool = false, since "0.1";

        /// The largest request that is read. It is reserved before its body is read, so it must fit into
        /// `large_request_memory`. Kafka's default is 100 MiB; ours is lower, so that memory at defaults stays below
        /// 256 MB.
        socket_request_max_bytes: ByteSize = ByteSize::mib(32),
            min ByteSize::kib(64), max ByteSize::new(i32::MAX as u64), since "0.1";

        /// The most connections at once. Further ones are closed when they arrive.
        max_connections: u32 = 20_000, min 1, max i32::MAX as u32, since "0.1";

        /// The most connections at once from one address. Further ones are closed when they arrive.
        max_connections_per_ip: u32 = 1000, min 1, max i32::MAX as u32, since "0.1";

        /// Connections without a request for that long are closed.
        connections_max_idle: Duration = Duration::from_secs(600),
            min Duration::from_secs(1), since "0.1";

        /// How many requests of one connection are worked on at once. Answers keep the order of the requests. More
        /// raises the throughput of clients far away and the memory that one connection can hold.
        requests_in_flight_max: u32 = 64, min 1, max 10_000, since "0.1";

        /// Memory for requests other than Produce (and for all requests between brokers). Never lent to Produce, so
        /// heartbeats pass while producers are held back.
        small_request_memory: ByteSize = ByteSize::mib(8), min ByteSize::mib(1), since "0.1";

        /// Memory for Produce requests of up to 1 MiB. When it is used up, reading from producers waits: their
        /// latency grows and nothing is lost. More raises throughput of many concurrent producers.
        produce_request_memory: ByteSize = ByteSize::mib(24), min ByteSize::mib(2), since "0.1";

        /// Memory for requests above 1 MiB, served in order of arrival. `socket_request_max_bytes` must fit;
        /// unless this is set, it grows with that.
        large_request_memory: ByteSize = ByteSize::mib(32), min ByteSize::mib(1), since "0.1";

        /// Memory for record data that Fetch answers read from the WAL or from objects. The less is free the smaller
        /// the answers; when it is used up, a fetch waits for it, no longer than for records, and who does not read
        /// what holds it is closed. `message.max.bytes` must fit; unless this is set, it grows with that.
        fetch_memory: ByteSize = ByteSize::mib(16), min ByteSize::mib(2), since "0.1";

        /// The slowest rate, per second, at which a request that has reserved memory may arrive. A slower
        /// connection is closed, so that stalled senders give their memory back.
        request_arrival_rate_min: ByteSize = ByteSize::kib(16), min ByteSize::new(1), since "0.1";

        /// How long a request may take to arrive before `request_arrival_rate_min` is enforced.
        request_arrival_grace: Duration = Duration::from_secs(5),
            max Duration::from_secs(300), since "0.1";
    }
}
