//! Enumerations whose values have names on the command line and in files.

/// A choice among values that have names.
pub trait Named: Copy + Send + Sync + 'static {
    /// Every value, in the order in which they are listed.
    fn all() -> &'static [Self];

    /// The name on the command line and in files.
    fn name(&self) -> &'static str;

    /// What it means, in a line.
    fn help(&self) -> &'static str;

    /// The value of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::all().iter().copied().find(|value| value.name() == name)
    }
}

/// An enumeration with the name of each value; the documentation of a value is its help.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $help:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $help])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: [$name; [$($text,)*].len()] = [$($name::$variant,)*];

            /// The name used on the command line and in files.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The value of that name.
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

            fn help(&self) -> &'static str {
                match self { $($name::$variant => concat!($($help,)*).trim().trim_end_matches('.'),)* }
            }
        }
    };
}
pub(crate) use named;
