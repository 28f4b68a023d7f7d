//! The platform's promises to service authors, each kept on `sim`.

mod bad_days;
mod budgets;
mod containment;
mod drain;
mod long;
mod offloads;
mod ordinary;
mod services;
mod time;
