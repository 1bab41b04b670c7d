//! What `docker/Dockerfile` says about its last stage: the part of the Dockerfile language that the file uses.

use std::path::Path;

/// The image that the last stage makes.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// ENV, in order.
    pub(crate) environment: Vec<(String, String)>,
    /// ENTRYPOINT.
    pub(crate) entrypoint: Vec<String>,
    /// CMD.
    pub(crate) command: Vec<String>,
    /// USER.
    pub(crate) user: Option<String>,
    /// VOLUME.
    pub(crate) volume: Option<String>,
    /// EXPOSE.
    pub(crate) ports: Vec<u16>,
    /// Where the binary of the first stage goes.
    pub(crate) copied: Option<String>,
}

impl Image {
    /// Reads the Dockerfile.
    pub(crate) fn of_this_checkout() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/Dockerfile");
        let text = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
        let mut image = Self::default();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (instruction, rest) = line.split_once(' ').unwrap();
            image.instruction(instruction, rest.trim());
        }
        image
    }

    /// The value of an environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn instruction(&mut self, instruction: &str, rest: &str) {
        match instruction {
            // A new stage begins with nothing of the one before.
            "FROM" => *self = Self::default(),
            "ENV" => {
                let (name, value) = rest.split_once('=').unwrap();
                assert!(
                    !value.contains([' ', '"', '$']),
                    "quotes and variables are not read here: {rest}"
                );
                self.environment.push((name.to_owned(), value.to_owned()));
            }
            "ENTRYPOINT" => self.entrypoint = serde_json::from_str(rest).unwrap(),
            "CMD" => self.command = serde_json::from_str(rest).unwrap(),
            "USER" => self.user = Some(rest.to_owned()),
            "VOLUME" => self.volume = Some(rest.to_owned()),
            "EXPOSE" => self.ports = rest.split(' ').map(|port| port.parse().unwrap()).collect(),
            "COPY" if rest.starts_with("--from=") => {
                self.copied = rest.rsplit(' ').next().map(str::to_owned)
            }
            "COPY" | "RUN" | "WORKDIR" => {}
            other => {
                panic!("{other} is not known here: a test that skips it would not run the image")
            }
        }
    }
}
