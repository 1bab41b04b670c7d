//! Settings of a bucket of S3 that holds the objects.

use std::time::Duration;

use crate::section::section;
use crate::storage_url::StoreEndpoint;

section! {
    /// How the bucket that `storage.url` names is reached. Without effect while the objects are in a folder.
    /// Credentials are no settings: they come from where Amazon's own tools look for them, in this order:
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a web identity token (`AWS_WEB_IDENTITY_TOKEN_FILE`), the shared
    /// profile files (`AWS_PROFILE`), the container's and the instance's role. They are never shown.
    "s3" => S3Settings {
        /// The store's address, for stores that are not Amazon's, such as `https://minio.internal:9000`. Unset:
        /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, or else Amazon's own for the region. With `http://` everything
        /// but the secret key crosses the network in the clear.
        endpoint: Option<StoreEndpoint> = None, since "0.1";

        /// The region that requests are signed for; it must be the bucket's. Unset: `AWS_REGION`,
        /// `AWS_DEFAULT_REGION`, the profile's, or else `us-east-1`. Most other stores take any.
        region: Option<String> = None, since "0.1";

        /// Whether the bucket is the first part of the path, which every store understands. Set it to false for a
        /// store that wants the bucket in the host name; with an endpoint of its own, the endpoint names it, then.
        path_style: bool = true, since "0.1";

        /// How long the first attempt of a small request may take before it is tried again over another connection.
        /// Later attempts get twice as long, and requests of more than 512 KiB the time that their bytes take at
        /// 10 MB/s besides. Lower it for a store that is close; a store that often takes longer sees every request twice.
        attempt_timeout: Duration = Duration::from_secs(2), min Duration::from_millis(100), max Duration::from_secs(60),
            since "0.1";

        /// How many uploads of produced records run at once. Each holds its object in memory, up to 8 MiB.
        uploads_in_flight: u32 = 16, min 1, max 256, since "0.1";

        /// How many reads for consumers close to the end of the log run at once; a quarter as many for consumers of
        /// older records come on top, so that these never slow the others down.
        reads_in_flight: u32 = 32, min 4, max 1024, since "0.1";
    }
}
