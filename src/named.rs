//! Enumerations whose variants have names on the command line and in files.

/// An enumeration with named variants.
pub trait Named: Copy + Send + Sync + 'static {
    /// All variants, in the order in which help texts list them.
    fn all() -> &'static [Self];

    /// The name used on the command line and in files.
    fn name(&self) -> &'static str;

    /// A description in one line.
    fn help(&self) -> &'static str;

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

            fn help(&self) -> &'static str {
                match self { $($name::$variant => concat!($($help,)*).trim().trim_end_matches('.'),)* }
            }
        }
    };
}
pub(crate) use named;
