//! What can go wrong, in words a user can act on, and the exit code each kind of failure ends with.

use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, told with its numbers and its file, and with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other or lie outside their range (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// No device of the kind asked for is there, or none can run (exit code 3).
    #[error("{0}")]
    NoDevice(String),
    /// The network needs more than a device or this machine offers (exit code 3).
    #[error("{what} needs {needed} {unit}, but {holder} offers {available} {unit}: {advice}")]
    Limit {
        /// What is too large, for instance "the weights in one buffer".
        what: String,
        /// How much it needs.
        needed: u64,
        /// How much there is.
        available: u64,
        /// The unit of both figures.
        unit: &'static str,
        /// The device or machine that offers too little.
        holder: String,
        /// What the user can do.
        advice: String,
    },
    /// A data file is missing, malformed or does not fit the others (exit code 4).
    #[error("{}: {reason}", .path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what was expected.
        reason: String,
    },
    /// A weights file is unreadable or holds another network (exit code 4).
    #[error("{}: {reason}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what was expected.
        reason: String,
    },
    /// Training made a number that is not finite (exit code 5).
    #[error(
        "training diverged: update {update} made {what} of {of} {layer} NaN or infinite; \
         the weights kept are those before that update{advice}"
    )]
    Diverged {
        /// The weight update, counted from 1, after which a number was not finite.
        update: u64,
        /// The number l of θ^l, as in the paper (θ^1 feeds the output).
        layer: usize,
        /// What the number is of: "layer", or of a graph "matrix".
        of: &'static str,
        /// "the weights" or "the biases".
        what: &'static str,
        /// What may help, as a sentence after the others.
        advice: String,
    },
    /// A file or folder could not be read or written (exit code 1).
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The GPU or its driver failed: out of memory, device lost, an internal error (exit code 1).
    #[error("{0}")]
    Gpu(String),
    /// The user interrupted the run (exit code 130).
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// The process exit code that this failure ends the command with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Io { .. } | Error::Gpu(_) => 1,
            Error::Usage(_) => 2,
            Error::NoDevice(_) | Error::Limit { .. } => 3,
            Error::Data { .. } | Error::Weights { .. } => 4,
            Error::Diverged { .. } => 5,
            Error::Interrupted(_) => 130,
        }
    }

    /// An [`Error::Io`] for `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        let source = match source.kind() {
            // The system's words do not say whose limit it is.
            std::io::ErrorKind::FileTooLarge => std::io::Error::new(
                source.kind(),
                format!("{source}: the limit for the size of a file is reached; raise it (ulimit -f)"),
            ),
            _ => source,
        };
        Error::Io { path: path.to_owned(), source }
    }

    /// An [`Error::Data`] for `path`.
    pub fn data(path: &Path, reason: impl Into<String>) -> Self {
        Error::Data { path: path.to_owned(), reason: reason.into() }
    }

    /// An [`Error::Weights`] for `path`.
    pub fn weights(path: &Path, reason: impl Into<String>) -> Self {
        Error::Weights { path: path.to_owned(), reason: reason.into() }
    }

    /// An [`Error::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }
}
