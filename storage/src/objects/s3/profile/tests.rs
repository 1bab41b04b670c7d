//! The shared profile files as people write them.

use super::{ProfileError, find};

const CREDENTIALS: &str = "\
# made by hand
[default]
aws_access_key_id = AKDEFAULT
aws_secret_access_key=s3cr3t/with=equals

[ work ]
aws_access_key_id = AKWORK
aws_secret_access_key = w0rk
aws_session_token = t0ken
[half]
aws_access_key_id = AKHALF
";
const CONFIG: &str = "\
[default]
region = eu-central-1
s3 =
  region = not-this-one
[profile work]
region = eu-west-1
[profile assumed]
role_arn = arn:aws:iam::1:role/x
[work]
region = nobody-reads-this
";

#[test]
fn keys_token_and_region_of_a_profile_are_found() {
    let default = find("default", CREDENTIALS, CONFIG).expect("found");
    assert_eq!(default.key_id.as_deref(), Some("AKDEFAULT"));
    assert_eq!(default.secret.as_deref(), Some("s3cr3t/with=equals"));
    assert_eq!(default.token, None);
    assert_eq!(default.region.as_deref(), Some("eu-central-1"));
    let work = find("work", CREDENTIALS, CONFIG).expect("found");
    assert_eq!(work.key_id.as_deref(), Some("AKWORK"));
    assert_eq!(work.token.as_deref(), Some("t0ken"));
    assert_eq!(work.region.as_deref(), Some("eu-west-1"));
}

#[test]
fn a_profile_without_keys_says_what_it_lacks() {
    let error = |name| find(name, CREDENTIALS, CONFIG).expect_err("refused");
    assert_eq!(error("nobody"), ProfileError::Missing);
    assert_eq!(error("half"), ProfileError::NoKeys);
    assert_eq!(
        error("assumed"),
        ProfileError::Unsupported("role_arn".into())
    );
}

#[test]
fn a_profile_never_shows_its_keys() {
    let work = find("work", CREDENTIALS, CONFIG).expect("found");
    let shown = format!("{work:?}");
    assert!(
        !shown.contains("AKWORK") && !shown.contains("w0rk"),
        "{shown}"
    );
}
