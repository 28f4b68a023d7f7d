//! Captures judged: those of the corpus, and made ones of floods and users that it does not have.

mod captures;
mod craft;
mod files;
mod floods;
mod users;
