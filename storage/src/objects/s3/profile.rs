//! Profiles in Amazon's shared files (`~/.aws/credentials`, `~/.aws/config`): the static keys and the region of one.
//!
//! Profiles that get their keys by other means (single sign-on, an assumed role, a process) are refused by name.

/// What a profile says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) key_id: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) token: Option<String>,
    pub(super) region: Option<String>,
}

/// A profile that gives no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProfileError {
    #[error("there is no such profile; check AWS_PROFILE and the file")]
    Missing,
    #[error(
        "it has no aws_access_key_id and aws_secret_access_key; add them, or set the variables of that name in capitals"
    )]
    NoKeys,
    #[error("it uses {0}, which is not supported; use keys, a web identity or the instance's role")]
    Unsupported(String),
}

/// The profile `name` in the texts of the two files; keys of the first file come before those of the second.
pub(super) fn find(name: &str, credentials: &str, config: &str) -> Result<Profile, ProfileError> {
    let mut profile = Profile::default();
    let mut is_there = false;
    let mut unsupported = None;
    // Only the default profile stands under its bare name in the config file.
    let in_config = format!("profile {name}");
    let bare = if name == "default" {
        name
    } else {
        in_config.as_str()
    };
    let sections = [
        (credentials, name),
        (config, in_config.as_str()),
        (config, bare),
    ];
    for (text, section) in sections {
        for (key, value) in entries(text, section) {
            is_there = true;
            let field = match key {
                "aws_access_key_id" => &mut profile.key_id,
                "aws_secret_access_key" => &mut profile.secret,
                "aws_session_token" => &mut profile.token,
                "region" => &mut profile.region,
                "credential_process" | "role_arn" | "sso_session" | "sso_start_url" => {
                    unsupported.get_or_insert_with(|| key.to_owned());
                    continue;
                }
                _ => continue,
            };
            field.get_or_insert_with(|| value.to_owned());
        }
    }
    match (
        profile.key_id.is_some() && profile.secret.is_some(),
        unsupported,
    ) {
        (true, _) => Ok(profile),
        (false, Some(key)) => Err(ProfileError::Unsupported(key)),
        (false, None) if is_there => Err(ProfileError::NoKeys),
        (false, None) => Err(ProfileError::Missing),
    }
}

/// The `key = value` lines of `[section]`.
fn entries<'a>(text: &'a str, section: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut is_inside = false;
    text.lines().filter_map(move |line| {
        // An indented line belongs to a nested setting, of which none is ours.
        if line.starts_with([' ', '\t', '#', ';']) {
            return None;
        }
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[') {
            let title = title.split(']').next().unwrap_or_default();
            is_inside = title.split_whitespace().eq(section.split_whitespace());
            return None;
        }
        let (key, value) = line.split_once('=')?;
        is_inside.then_some((key.trim(), value.trim()))
    })
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct("Profile")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
