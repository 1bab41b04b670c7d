//! A bucket of S3, or of any store that speaks its protocol, as object store.
//!
//! The client's own repetitions and total timeout are off: the guard has a deadline for each attempt and decides what
//! is repeated. Bodies are signed, so every store checks what it received. Deletions are single requests: the bulk form
//! is missing in some stores, and costs the same.
//!
//! Credentials come from the usual places, in the usual order: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a web
//! identity token (IRSA), the shared profile files, the container's credentials (ECS, EKS), the instance's role.

mod place;
mod profile;
pub(super) mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

pub use self::place::{ParseS3PlaceError, S3Limits, S3Place};
use self::profile::{Profile, ProfileError};
pub use self::wire::WireCounts;
use self::wire::{Wire, WireConnector};
use super::StoreError;

/// How long making a connection may take; then no byte of the request was sent.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Stores close idle connections after about 20 seconds; ours go first, so that no request meets a closing one.
const IDLE_LIMIT: Duration = Duration::from_secs(15);
/// More idle connections than requests run at once would never be used.
const IDLE_CONNECTIONS_MAX: usize = 64;
const REGION_DEFAULT: &str = "us-east-1";

/// The bucket cannot be used as object store.
#[derive(Debug, thiserror::Error)]
pub enum OpenS3Error {
    /// A profile file cannot be read, or lacks what was asked of it.
    #[error("credentials of profile {profile:?} cannot be read from {path:?}: {problem}")]
    Profile {
        /// The name of the profile.
        profile: String,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The settings do not make a client.
    #[error("bucket {bucket:?} cannot be opened; check endpoint, region and credentials")]
    Client {
        /// The bucket.
        bucket: String,
        /// What the client said.
        source: StoreError,
    },
}

/// The process's variables: `AWS_*`, `HOME`. Tests bring their own.
pub(crate) type Environment = BTreeMap<String, String>;

/// The variables of this process that are text.
pub(super) fn process_environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The connections of this process over the network.
pub(super) fn network() -> Arc<dyn HttpConnector> {
    Arc::new(ReqwestConnector::default())
}

/// Makes a client for `place`; nothing is asked of the store yet. Reads the profile files.
pub(super) fn connect(
    place: &S3Place,
    environment: &Environment,
    connector: Arc<dyn HttpConnector>,
) -> Result<(Arc<dyn ObjectStore>, Arc<Wire>), OpenS3Error> {
    let profile = find_profile(environment)?;
    let region = [
        place.region.as_deref(),
        environment.get("AWS_REGION").map(String::as_str),
        environment.get("AWS_DEFAULT_REGION").map(String::as_str),
        profile
            .as_ref()
            .and_then(|profile| profile.region.as_deref()),
    ];
    let region = region.into_iter().flatten().next();
    let region = region.unwrap_or(REGION_DEFAULT).to_owned();
    let endpoint = place.endpoint(environment, &region);
    let wire = Arc::new(Wire::to(&place.bucket, &endpoint));
    let mut builder = from_environment(environment);
    if let Some(Profile {
        key_id: Some(key_id),
        secret: Some(secret),
        token,
        ..
    }) = profile
    {
        builder = builder
            .with_access_key_id(key_id)
            .with_secret_access_key(secret);
        if let Some(token) = token {
            builder = builder.with_token(token);
        }
    }
    let store = builder
        .with_bucket_name(&place.bucket)
        .with_region(region)
        .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.as_str())
        .with_virtual_hosted_style_request(place.is_virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        })
        .with_client_options(client_options(&endpoint))
        .with_http_connector(WireConnector::new(connector, Arc::clone(&wire)))
        .build()
        .map_err(|error| OpenS3Error::Client {
            bucket: place.bucket.clone(),
            source: Arc::new(error),
        })?;
    let store: Arc<dyn ObjectStore> = if place.prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, place.prefix.as_str()))
    };
    Ok((store, wire))
}

/// A builder with the variables that say who we are. Those that would change how requests are made are not ours to
/// take: what the settings say, or do not say, holds.
fn from_environment(environment: &Environment) -> AmazonS3Builder {
    use AmazonS3ConfigKey as Key;
    let mut builder = AmazonS3Builder::new();
    for (name, value) in environment {
        if !name.starts_with("AWS_") {
            continue;
        }
        let Ok(key) = name.to_ascii_lowercase().parse::<Key>() else {
            continue;
        };
        let is_ours = matches!(
            key,
            Key::AccessKeyId
                | Key::SecretAccessKey
                | Key::Token
                | Key::ImdsV1Fallback
                | Key::MetadataEndpoint
                | Key::ContainerCredentialsRelativeUri
                | Key::ContainerCredentialsFullUri
                | Key::ContainerAuthorizationTokenFile
                | Key::WebIdentityTokenFile
                | Key::RoleArn
                | Key::RoleSessionName
                | Key::StsEndpoint
                | Key::UnsignedPayload
                | Key::Checksum
                | Key::SkipSignature
                | Key::RequestPayer
                | Key::Encryption(_)
        );
        if is_ours {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

fn client_options(endpoint: &str) -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_pool_idle_timeout(IDLE_LIMIT)
        .with_pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        // Only if the settings spell the endpoint without TLS.
        .with_allow_http(endpoint.starts_with("http://"))
}

/// The shared profile that holds the credentials, unless the variables hold some that come first.
fn find_profile(environment: &Environment) -> Result<Option<Profile>, OpenS3Error> {
    let is_set = |name: &str| environment.contains_key(name);
    let comes_first = is_set("AWS_ACCESS_KEY_ID")
        || (is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && is_set("AWS_ROLE_ARN"));
    if comes_first {
        return Ok(None);
    }
    let named = environment
        .get("AWS_PROFILE")
        .filter(|name| !name.is_empty());
    let name = named.map_or("default", String::as_str);
    let of_home = |file| {
        let home = environment.get("HOME")?;
        Some(Path::new(home).join(".aws").join(file))
    };
    let at = |variable: &str, file| match environment.get(variable) {
        Some(path) => Some(PathBuf::from(path)),
        None => of_home(file),
    };
    let credentials = at("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let config = at("AWS_CONFIG_FILE", "config");
    let failed = |path: &Path, problem: String| OpenS3Error::Profile {
        profile: name.to_owned(),
        path: path.to_owned(),
        problem,
    };
    let read =
        |path: &Option<PathBuf>| match path.as_deref().map(|path| (path, fs::read_to_string(path)))
        {
            None => Ok(String::new()),
            Some((_, Ok(text))) => Ok(text),
            Some((_, Err(error))) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Some((path, Err(error))) => Err(failed(path, error.to_string())),
        };
    let shown = credentials.clone().unwrap_or_default();
    match profile::find(name, &read(&credentials)?, &read(&config)?) {
        Ok(profile) => Ok(Some(profile)),
        // Nobody asked for a profile: the container or the instance may have credentials.
        Err(ProfileError::Missing | ProfileError::NoKeys) if named.is_none() => Ok(None),
        Err(error) => Err(failed(&shown, error.to_string())),
    }
}
