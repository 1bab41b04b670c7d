//! `--set key=value`: a setting as `section.field`, or a Kafka key.

use super::source::{Gathered, Layer, Origin, Problem};
use super::suggest;
use crate::kafka::broker_key;
use crate::settings::Settings;

/// Reads one assignment of the command line.
pub(crate) fn gather(text: &str, gathered: &mut Gathered) {
    let Some((key, value)) = text.split_once('=') else {
        gathered.problem(Problem::of_source(
            &format!("--set {text}"),
            "it has no equals sign; write --set key=value",
        ));
        return;
    };
    let (key, value) = (key.trim(), value.trim());
    let origin = Origin::new(Layer::CommandLine, "--set".to_owned());
    if Settings::has(key) {
        gathered.native(key, value, origin);
    } else if broker_key(key).is_some() {
        gathered.kafka(key, value, origin);
    } else {
        gathered.problem(Problem::new(
            key,
            format!(
                "there is no setting and no Kafka broker key of this name (from --set){}",
                suggest::any(key)
            ),
        ));
    }
}
