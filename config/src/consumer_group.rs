//! Words of the settings of consumer groups (KIP-848): assignors and the policy of migration.

use crate::value::Value;

/// How a consumer group's coordinator shares partitions out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerAssignor {
    /// As evenly as subscriptions allow, moving as few partitions as possible.
    Uniform,
    /// Consecutive partitions of each topic, the same ones of topics with equally many.
    Range,
}

impl ConsumerAssignor {
    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range]
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }
}

impl Value for Vec<ConsumerAssignor> {
    const KIND: &'static str = "list of uniform and range";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let mut assignors = Self::new();
        for name in text.split(',') {
            let assignor = ConsumerAssignor::named(name.trim())
                .ok_or_else(|| "use uniform, range or both".to_owned())?;
            if assignors.contains(&assignor) {
                return Err(format!("name {} once", assignor.name()));
            }
            assignors.push(assignor);
        }
        Ok(assignors)
    }

    fn write(&self) -> String {
        let names: Vec<&str> = self.iter().map(|assignor| assignor.name()).collect();
        names.join(",")
    }
}

/// In which direction a group may change between the classic and the consumer protocol while it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum MigrationPolicy {
    /// Both.
    Bidirectional,
    /// To the consumer protocol only.
    Upgrade,
    /// To the classic protocol only.
    Downgrade,
    /// None: the group must be empty.
    Disabled,
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    #[must_use]
    pub const fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    /// Whether a consumer group may become a classic group.
    #[must_use]
    pub const fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

impl Value for MigrationPolicy {
    const KIND: &'static str = "bidirectional, upgrade, downgrade or disabled";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "bidirectional" => Ok(Self::Bidirectional),
            "upgrade" => Ok(Self::Upgrade),
            "downgrade" => Ok(Self::Downgrade),
            "disabled" => Ok(Self::Disabled),
            _ => Err("use bidirectional, upgrade, downgrade or disabled".into()),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Bidirectional => "bidirectional",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Disabled => "disabled",
        }
        .into()
    }
}
