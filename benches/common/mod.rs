//! What all benchmarks share: a wire of the lab, rounds in turn, ratios.
//!
//! A ratio compares contenders in one run on one wire. They take turns, round after round, so that
//! whatever else the machine does meets all of them; the median of the rounds is what counts.
#![allow(dead_code)] // Each benchmark takes what it needs.

pub(crate) mod bare;

use std::time::{Duration, Instant};

use tidegate::lab::{Namespace, Wire, WireOptions};

/// A wire between two namespaces, with so many queues.
pub(crate) fn wire(queues: u32) -> Wire {
    if let Some(missing) = tidegate::lab::missing() {
        println!("cannot be measured here:\n{missing}");
        std::process::exit(2);
    }
    let options = WireOptions { queues, ipv6: false, ..WireOptions::default() };
    let namespace = || Namespace::new().expect("a namespace");
    Wire::new(&namespace(), &namespace(), &options).expect("a wire")
}

/// A closure that is true for `time` from its first call; it looks at the clock every 64 calls.
pub(crate) fn lasting(time: Duration) -> impl FnMut() -> bool {
    let mut end = None;
    let mut calls = 0_u32;
    move || {
        calls = calls.wrapping_add(1);
        let end = *end.get_or_insert_with(|| Instant::now() + time);
        calls % 64 != 0 || Instant::now() < end
    }
}

/// One contender: its name and its rates by round, in packets per second.
pub(crate) struct Contender<'a> {
    name: &'static str,
    round: Box<dyn FnMut(Duration) -> f64 + 'a>,
    rates: Vec<f64>,
}

impl<'a> Contender<'a> {
    /// `round` works for the time given and returns its rate.
    pub(crate) fn new(name: &'static str, round: impl FnMut(Duration) -> f64 + 'a) -> Self {
        Self { name, round: Box::new(round), rates: Vec::new() }
    }

    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }
}

/// Lets the contenders take turns and prints each one's rate and its ratio to the first.
pub(crate) fn compare(mut contenders: Vec<Contender<'_>>) {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (rounds, time) = (number("ROUNDS", 7), Duration::from_millis(number("MILLISECONDS", 700)));
    for _ in 0..rounds {
        for contender in &mut contenders {
            let rate = (contender.round)(time);
            contender.rates.push(rate);
        }
    }
    let base = contenders[0].median();
    println!("median of {rounds} rounds of {} ms", time.as_millis());
    for contender in &contenders {
        let rate = contender.median();
        let ratio = rate / base;
        println!("  {:<28} {:>9.0} packets/s   x {ratio:.3}", contender.name, rate);
    }
}
