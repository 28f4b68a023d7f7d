//! An error as an operator is told it: what was tried, and the answer that came.
//!
//! Errors in this house say either themselves what their cause was, or give it as their source.
//! On the screen both come out alike: all of the chain, nothing twice.

use std::error::Error;

/// The words of `error` and of its causes, parted by colons.
pub(crate) fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<dyn Error>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref()
        }
    }

    #[test]
    fn all_causes_come_in_their_order_and_none_twice() {
        let refusal = || Box::new(io::Error::from_raw_os_error(1));
        let call = || Box::new(Layer("mount failed", Some(refusal())));
        assert_eq!(
            told(&Layer("no disk", Some(call()))),
            "no disk: mount failed: Operation not permitted (os error 1)"
        );
        assert_eq!(
            told(&Layer("no disk: mount failed", Some(call()))),
            "no disk: mount failed: Operation not permitted (os error 1)"
        );
        assert_eq!(told(&Layer("no disk", None)), "no disk");
    }
}
