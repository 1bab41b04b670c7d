//! What values a key allows, refused in Kafka's words (`ConfigDef.parseType` and its validators).

use super::TopicConfigError;
use crate::kafka::ConfigType;

/// What a value must satisfy besides its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Anything of the type.
    Any,
    /// A whole number of at least that.
    AtLeast(i64),
    /// A whole number between both, inclusive.
    Between(i64, i64),
    /// A whole number between both, inclusive, or the third.
    BetweenOr(i64, i64, i64),
    /// A fraction between both, inclusive.
    Fraction(f64, f64),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any selection of these.
    ListOf(&'static [&'static str]),
    /// `*`, or pairs `partition:broker`.
    Replicas,
}

impl Rule {
    /// What is allowed, as Kafka's documentation writes it.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            Self::Any => String::new(),
            Self::AtLeast(min) => format!("[{min},...]"),
            Self::Between(min, max) => format!("[{min},...,{max}]"),
            Self::BetweenOr(min, max, other) => format!("[{min},...,{max}] or {other}"),
            Self::Fraction(min, max) => format!("[{min},...,{max}]"),
            Self::OneOf(values) | Self::ListOf(values) => format!("[{}]", values.join(", ")),
            Self::Replicas => "* or partition:broker,...".to_owned(),
        }
    }

    /// Checks `value` and returns it as Kafka writes it back (trimmed, `TRUE` as `true`, lists without spaces).
    ///
    /// # Errors
    /// [`TopicConfigError`] with Kafka's text.
    pub fn check(
        &self,
        name: &'static str,
        kind: ConfigType,
        value: &str,
    ) -> Result<String, TopicConfigError> {
        let refuse = |reason: String| TopicConfigError::Value {
            name,
            value: value.to_owned(),
            reason,
        };
        let trimmed = value.trim();
        match kind {
            ConfigType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                text @ ("true" | "false") => Ok(text.to_owned()),
                _ => Err(refuse("Expected value to be either true or false".into())),
            },
            ConfigType::Int | ConfigType::Short | ConfigType::Long => {
                let number = parse_integer(trimmed, kind)
                    .ok_or_else(|| refuse(format!("Not a number of type {}", kind.name())))?;
                self.check_integer(name, number)?;
                Ok(number.to_string())
            }
            ConfigType::Double => {
                let number = trimmed
                    .parse::<f64>()
                    .ok()
                    .filter(|number| !number.is_nan())
                    .ok_or_else(|| refuse("Not a number of type DOUBLE".into()))?;
                self.check_fraction(name, number)?;
                Ok(format!("{number:?}"))
            }
            ConfigType::List => self.check_list(name, trimmed),
            ConfigType::String | ConfigType::Class | ConfigType::Password => {
                self.check_text(name, trimmed)
            }
        }
    }

    fn check_integer(&self, name: &'static str, number: i64) -> Result<(), TopicConfigError> {
        let reason = match *self {
            Self::AtLeast(min) | Self::Between(min, _) if number < min => {
                format!("Value must be at least {min}")
            }
            Self::Between(_, max) if number > max => format!("Value must be no more than {max}"),
            Self::BetweenOr(min, max, other)
                if !(min..=max).contains(&number) && number != other =>
            {
                format!("Value must be between {min} and {max} or equal to {other}")
            }
            Self::Any
            | Self::AtLeast(_)
            | Self::Between(..)
            | Self::BetweenOr(..)
            | Self::Fraction(..)
            | Self::OneOf(_)
            | Self::ListOf(_)
            | Self::Replicas => return Ok(()),
        };
        Err(TopicConfigError::Value {
            name,
            value: number.to_string(),
            reason,
        })
    }

    fn check_fraction(&self, name: &'static str, number: f64) -> Result<(), TopicConfigError> {
        let Self::Fraction(min, max) = *self else {
            return Ok(());
        };
        let reason = if number < min {
            format!("Value must be at least {min}")
        } else if number > max {
            format!("Value must be no more than {max}")
        } else {
            return Ok(());
        };
        Err(TopicConfigError::Value {
            name,
            value: format!("{number:?}"),
            reason,
        })
    }

    fn check_text(&self, name: &'static str, text: &str) -> Result<String, TopicConfigError> {
        match self {
            Self::OneOf(values) if !values.contains(&text) => Err(TopicConfigError::Value {
                name,
                value: text.to_owned(),
                reason: format!("String must be one of: {}", values.join(", ")),
            }),
            Self::Any
            | Self::AtLeast(_)
            | Self::Between(..)
            | Self::BetweenOr(..)
            | Self::Fraction(..)
            | Self::OneOf(_)
            | Self::ListOf(_)
            | Self::Replicas => Ok(text.to_owned()),
        }
    }

    fn check_list(&self, name: &'static str, text: &str) -> Result<String, TopicConfigError> {
        let mut parts = Vec::new();
        for part in split_list(text) {
            if part.is_empty() {
                return Err(TopicConfigError::EmptyPart { name });
            }
            if let Self::ListOf(values) = self
                && !values.contains(&part)
            {
                return Err(TopicConfigError::Value {
                    name,
                    value: part.to_owned(),
                    reason: format!("String must be one of: {}", values.join(", ")),
                });
            }
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        if *self == Self::Replicas && parts != ["*"] && !parts.iter().all(|part| is_replica(part)) {
            return Err(TopicConfigError::Value {
                name,
                value: format!("[{}]", parts.join(", ")),
                reason: format!(
                    "{name} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                ),
            });
        }
        Ok(parts.join(","))
    }
}

/// The parts of a list; the empty text is the empty list.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    text.split(',')
        .map(str::trim)
        .filter(move |_| !text.is_empty())
}

fn parse_integer(text: &str, kind: ConfigType) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    let fits = match kind {
        ConfigType::Int => i32::try_from(number).is_ok(),
        ConfigType::Short => i16::try_from(number).is_ok(),
        ConfigType::Boolean
        | ConfigType::String
        | ConfigType::Long
        | ConfigType::Double
        | ConfigType::List
        | ConfigType::Class
        | ConfigType::Password => true,
    };
    fits.then_some(number)
}

fn is_replica(part: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    part.split_once(':')
        .is_some_and(|(partition, broker)| digits(partition) && digits(broker))
}
