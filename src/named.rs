//! Enumerations whose variants have names on the command line and in files.

use crate::words::{nearest, of_value, plain};

/// An enumeration with named variants.
pub trait Named: Copy + Send + Sync + 'static {
    /// All variants, in the order in which help texts list them.
    fn all() -> &'static [Self];

    /// The name used on the command line and in files.
    fn name(&self) -> &'static str;

    /// A description in one line.
    fn help(&self) -> &'static str;

    /// The name of the type, by which [`crate::words::VALUES`] lists other names of its values.
    fn kind() -> &'static str;

    /// The name used in tables.
    fn title(&self) -> &'static str {
        self.name()
    }

    /// Everything that a value is called: its name, its title, and its other names.
    fn spellings(&self) -> Vec<&'static str> {
        let others = of_value(Self::kind(), self.name());
        [self.name(), self.title()].into_iter().chain(others.iter().copied()).collect()
    }

    /// The value that a user means by `word`. Letter cases, hyphens and underscores do not matter, and other names count.
    fn read(word: &str) -> Option<Self> {
        let same = |value: &Self| value.spellings().into_iter().any(|name| plain(name) == plain(word));
        Self::from_name(word).or_else(|| Self::all().iter().copied().find(same))
    }

    /// The name of the value whose spelling is most similar to a word that [`Named::read`] does not know.
    fn nearest(word: &str) -> Option<&'static str> {
        let all = Self::all().iter();
        nearest(word, all.flat_map(|value| value.spellings().into_iter().map(move |spelling| (spelling, value.name()))))
    }

    /// The variant with this name.
    fn from_name(name: &str) -> Option<Self> {
        Self::all().iter().copied().find(|value| value.name() == name)
    }
}

/// Defines an enumeration with named variants. The doc comment of a variant is its help text.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $help:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $help])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// All variants.
            pub const ALL: [$name; [$($text,)*].len()] = [$($name::$variant,)*];

            /// The name used on the command line and in files.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The variant with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.name() == name)
            }
        }

        impl crate::named::Named for $name {
            fn all() -> &'static [Self] {
                &Self::ALL
            }

            fn name(&self) -> &'static str {
                Self::name(*self)
            }

            fn kind() -> &'static str {
                stringify!($name)
            }

            fn help(&self) -> &'static str {
                match self { $($name::$variant => concat!($($help,)*).trim().trim_end_matches('.'),)* }
            }
        }
    };
}
pub(crate) use named;
