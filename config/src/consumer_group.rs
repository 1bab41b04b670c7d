//! Words of the settings of consumer groups (KIP-848): their assignors.

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
