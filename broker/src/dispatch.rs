//! From a frame to the handler of its API.
//!
//! Header, version, row of the table, run. A version that is not served closes the connection, as in Kafka, except that
//! ApiVersions is answered in version 0 so that client and broker find a common one (KIP-511).
//!
//! Here, and nowhere else, the lease is looked at: after the answer was built, for the APIs whose rows say so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use metrics::{Counter, Histogram, counter, histogram};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::frame::{PREAMBLE_BYTES, Preamble, RequestHeader, take_header};
use streamhouse_protocol::rope::Rope;
use streamhouse_runtime::{Clock, Monotonic};

use crate::api::{Answer, Api, Lane, Peer, Reply, RequestContext};
use crate::handlers::api_versions;
use crate::membership::lease::Lease;
use crate::network::{Arriving, Call, CloseReason, Service};
use crate::reach::Broker;

/// The table of APIs at work.
pub struct Dispatch {
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    lease: Lease,
    served: BTreeMap<i16, Served>,
}

/// An API that is served, with its metrics at hand.
struct Served {
    api: &'static Api,
    requests: Counter,
    seconds: Histogram,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("apis", &self.served.len())
            .finish_non_exhaustive()
    }
}

impl Dispatch {
    /// Serves `apis` with what `broker` has, under its lease. A metrics recorder that is installed later sees nothing of it.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        clock: Arc<dyn Clock>,
        lease: Lease,
        apis: &'static [Api],
    ) -> Self {
        let served = apis
            .iter()
            .map(|api| (api.key as i16, Served::new(api)))
            .collect();
        Self {
            broker,
            clock,
            lease,
            served,
        }
    }
}

impl Dispatch {
    /// The answer to an ApiVersions request of a version that is not served. Nothing but its first eight bytes is
    /// looked at: what follows may have any form.
    fn unknown_api_versions(&self, frame: &[u8]) -> Option<Answer<Rope>> {
        let preamble = Preamble::from_bytes(*frame.first_chunk::<PREAMBLE_BYTES>()?);
        let served = self.served.get(&preamble.api_key)?;
        let is_unknown = served.api.key == ApiKey::ApiVersions
            && !served.api.versions.contains(&preamble.api_version);
        is_unknown.then(|| {
            served.requests.increment(1);
            api_versions::unsupported_version(preamble.correlation_id)
        })
    }
}

impl Served {
    fn new(api: &'static Api) -> Self {
        Self {
            api,
            requests: counter!("streamhouse_broker_requests_total", "api" => api.name),
            seconds: histogram!("streamhouse_broker_request_seconds", "api" => api.name),
        }
    }
}

impl Service for Dispatch {
    fn call(&self, peer: &Arc<Peer>, mut frame: Bytes) -> Result<Call, CloseReason> {
        if let Some(answer) = self.unknown_api_versions(&frame) {
            let run = std::future::ready(Reply::Now(answer)).boxed();
            return Ok(Call {
                lane: Lane::Ordered,
                run,
            });
        }
        let request_bytes = frame.len();
        let header = take_header(&mut frame).map_err(CloseReason::Header)?;
        let RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        } = header;
        let key = api_key as i16;
        let served = self.served.get(&key);
        let served = served.filter(|served| served.api.versions.contains(&api_version));
        let Some(served) = served else {
            return Err(CloseReason::Unsupported {
                key,
                version: api_version,
            });
        };
        served.requests.increment(1);
        let lane = served.api.lane;
        let cx = RequestContext {
            peer: Arc::clone(peer),
            client_id,
            correlation_id,
            api_version,
            request_bytes,
        };
        let run = served.api.run(Arc::clone(&self.broker), cx, frame);
        let lease = served.api.is_under_lease.then(|| self.lease.clone());
        let timer = Timer {
            clock: Arc::clone(&self.clock),
            start: self.clock.monotonic(),
            seconds: served.seconds.clone(),
        };
        Ok(Call {
            lane,
            run: async move { timed(confirmed(run.await, lease), timer) }.boxed(),
        })
    }

    fn arriving(&self) -> Option<Arriving> {
        let arriving = self.broker.partitions.log.arriving()?;
        Some(Box::new(arriving))
    }
}

/// An answer under a lease goes out if the lease holds once it is built, or is renewed soon after.
fn confirmed(reply: Reply<Rope>, lease: Option<Lease>) -> Reply<Rope> {
    let Some(lease) = lease else {
        return reply;
    };
    match reply {
        Reply::Now(answer) if lease.holds() => Reply::Now(answer),
        Reply::Now(answer) => Reply::Later(confirm(answer, lease).boxed()),
        Reply::Later(later) => {
            Reply::Later(async move { confirm(later.await, lease).await }.boxed())
        }
    }
}

async fn confirm(answer: Answer<Rope>, lease: Lease) -> Answer<Rope> {
    match answer {
        Answer::Respond { response, mute } => match lease.confirmed().await {
            Ok(()) => Answer::Respond { response, mute },
            Err(_) => Answer::Close(CloseReason::LeaseOver),
        },
        Answer::Silent => Answer::Silent,
        Answer::Close(reason) => Answer::Close(reason),
    }
}

/// Measures a request from its start until its answer is complete.
struct Timer {
    clock: Arc<dyn Clock>,
    start: Monotonic,
    seconds: Histogram,
}

impl Timer {
    fn stop(&self) {
        self.seconds
            .record((self.clock.monotonic() - self.start).as_secs_f64());
    }
}

fn timed(reply: Reply<Rope>, timer: Timer) -> Reply<Rope> {
    match reply {
        Reply::Now(answer) => {
            timer.stop();
            Reply::Now(answer)
        }
        Reply::Later(later) => Reply::Later(
            async move {
                let answer: Answer<Rope> = later.await;
                timer.stop();
                answer
            }
            .boxed(),
        ),
    }
}
