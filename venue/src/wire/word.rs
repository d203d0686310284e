//! Open sets of words: what is not known is kept, never refused.

/// Defines an enum of known words and one variant for all others. Reading ignores case and the prefix, if
/// any: the venue writes statuses with and without it (`venue.md` 6). Writing gives the bare word.
macro_rules! open_words {
    ($(#[$doc:meta])* $name:ident, prefix $prefix:literal { $( $(#[$vdoc:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$vdoc])* $variant, )*
            /// A word that this build does not know.
            Other(String),
        }

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }

            /// The word read, whatever its case.
            pub fn read(text: &str) -> Self {
                let bare = match text.get(..$prefix.len()) {
                    Some(head) if head.eq_ignore_ascii_case($prefix) => &text[$prefix.len()..],
                    _ => text,
                };
                $(if bare.eq_ignore_ascii_case($word) { return Self::$variant; })*
                Self::Other(text.to_owned())
            }
        }

        impl Default for $name {
            /// No word at all.
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Ok(Self::read(&Option::<String>::deserialize(d)?.unwrap_or_default()))
            }
        }
    };
}

pub(crate) use open_words;
