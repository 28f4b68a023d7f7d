//! Enums whose values are words of a standard: written as such, and read back.

/// An enum whose values are words.
pub trait Word: Copy + Sized + 'static {
    /// All of them, in the order of their words.
    const ALL: &'static [Self];

    /// The words.
    const WORDS: &'static [&'static str];

    /// What `word` is.
    fn of(word: &str) -> Option<Self> {
        Self::matching(|it| it == word)
    }

    /// What `word` is, if one does not look at capitals.
    fn resembling(word: &str) -> Option<Self> {
        Self::matching(|it| it.eq_ignore_ascii_case(word))
    }

    /// The first whose word is as wanted.
    fn matching(wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let index = Self::WORDS.iter().position(|word| wanted(word))?;
        Self::ALL.get(index).copied()
    }
}

/// Declares an enum whose variants are words: a [`Word`] with a `word` and `Display`, which a config
/// may have, too.
macro_rules! words {
    ($(#[$outer:meta])* $vis:vis enum $Name:ident {
        $($(#[$inner:meta])* $Variant:ident = $word:literal,)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(try_from = "String")]
        $vis enum $Name { $($(#[$inner])* $Variant,)+ }

        impl $crate::stream::sdp::words::Word for $Name {
            const ALL: &'static [Self] = &[$(Self::$Variant),+];
            const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl $Name {
            /// As the standard writes it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word),+ }
            }
        }

        impl TryFrom<String> for $Name {
            type Error = tidegate_config::Refusal;

            fn try_from(word: String) -> Result<Self, Self::Error> {
                use $crate::stream::sdp::words::Word;
                Self::of(&word).ok_or_else(|| {
                    Self::Error::new(format!("{word:?}"), Self::WORDS.join(", "))
                })
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub(super) use words;
