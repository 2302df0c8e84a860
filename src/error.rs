//! The error type of the crate, and the exit code of each kind of failure.

use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure. Its message names the values and the file involved, and says what the user can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is out of range, or options contradict each other (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// No device of the requested kind exists or can run (exit code 3).
    #[error("{0}")]
    NoDevice(String),
    /// The work exceeds the limits of a device or of this machine (exit code 3).
    #[error("{what} needs {needed} {unit}, but {holder} offers {available} {unit}: {advice}")]
    Limit {
        /// The quantity that is too large, for instance "the weights in one buffer".
        what: String,
        /// The required amount.
        needed: u64,
        /// The available amount.
        available: u64,
        /// The unit of both amounts.
        unit: &'static str,
        /// The device or limit that offers too little.
        holder: String,
        /// Advice for the user.
        advice: String,
    },
    /// A data file is missing, malformed or does not fit the others (exit code 4).
    #[error("{}: {reason}", .path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// The fault, and what was expected.
        reason: String,
    },
    /// A weights file is unreadable or holds another network (exit code 4).
    #[error("{}: {reason}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The fault, and what was expected.
        reason: String,
    },
    /// Training produced a NaN or infinite weight (exit code 5).
    #[error(
        "training diverged: after update {update}, {what} of {of} {layer} hold NaN or infinity; \
         the weights kept are those before that update{advice}"
    )]
    Diverged {
        /// The first weight update, counted from 1, that produced a NaN or infinity.
        update: u64,
        /// The index l of θ^l as in the paper; θ^1 feeds the output.
        layer: usize,
        /// What `layer` counts: "layer", or "matrix" for a graph.
        of: &'static str,
        /// "the weights" or "the biases".
        what: &'static str,
        /// Advice, which continues the message.
        advice: String,
    },
    /// A file or folder could not be read or written (exit code 1).
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The GPU or its driver failed: out of memory, device lost, an internal error (exit code 1).
    #[error("{0}")]
    Gpu(String),
    /// The run was interrupted (exit code 130).
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// The exit code of the process.
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
            // The message of the system does not name the limit.
            std::io::ErrorKind::FileTooLarge => std::io::Error::new(
                source.kind(),
                format!("{source}: the limit on the size of a file is reached; raise it (ulimit -f)"),
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
