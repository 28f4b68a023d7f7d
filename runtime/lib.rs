//! Shards and time.
