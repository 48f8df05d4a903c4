//! A wrapper for user content that cannot be printed or serialised by accident.
//!
//! `Sensitive<T>` has no `Debug` that shows its content, no `Display` and no `Serialize`. Reading
//! it takes a call of [`Sensitive::expose`], which a reviewer can search for.

use std::fmt;

/// User content in memory. Deliberately without `Display` and serialisation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Wraps user content.
    pub const fn new(content: T) -> Self {
        Self(content)
    }

    /// The content. Whoever calls this decides where it goes.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The content, unwrapped.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_content() {
        assert_eq!(format!("{:?}", Sensitive::new("4242 4242")), "Sensitive(…)");
    }
}
