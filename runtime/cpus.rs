//! Which shard runs on which CPU.

use std::{error, fmt};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Where a shard runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) cpu: usize,
    /// Another shard runs there too.
    pub(crate) shared: bool,
}

/// A shard is to run where this process may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAllowed {
    /// The CPU asked for.
    pub cpu: usize,
    /// Those that there are.
    pub allowed: Vec<usize>,
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPU {} is not one that this process may run on; those are {:?} \
             (`taskset -p $$` and the container's cpuset say so)",
            self.cpu, self.allowed
        )
    }
}

impl error::Error for NotAllowed {}

/// CPUs that this process may run on.
pub(crate) fn allowed() -> nix::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Gives every shard a CPU: the one it asks for, else the one with the fewest shards.
pub(crate) fn assign(asked: &[Option<usize>], allowed: &[usize]) -> Result<Vec<Seat>, NotAllowed> {
    let mut load = vec![0_u32; allowed.len()];
    let place = |cpu: usize| allowed.iter().position(|&known| known == cpu);
    for &cpu in asked.iter().flatten() {
        let refused = || NotAllowed { cpu, allowed: allowed.to_vec() };
        load[place(cpu).ok_or_else(refused)?] += 1;
    }
    let mut cpus = Vec::new();
    for &cpu in asked {
        cpus.push(cpu.unwrap_or_else(|| {
            let (least, shards) =
                load.iter_mut().enumerate().min_by_key(|(_, shards)| **shards).expect("one CPU");
            *shards += 1;
            allowed[least]
        }));
    }
    let seat = |&cpu: &usize| Seat { cpu, shared: place(cpu).is_some_and(|at| load[at] > 1) };
    Ok(cpus.iter().map(seat).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(asked: &[Option<usize>], allowed: &[usize]) -> Vec<(usize, bool)> {
        assign(asked, allowed).unwrap().iter().map(|seat| (seat.cpu, seat.shared)).collect()
    }

    #[test]
    fn shards_spread_over_what_is_allowed_and_free() {
        assert_eq!(seats(&[None, None], &[2, 5]), [(2, false), (5, false)]);
        assert_eq!(seats(&[None, Some(2)], &[2, 5]), [(5, false), (2, false)]);
    }

    #[test]
    fn more_shards_than_cpus_share_and_know_it() {
        assert_eq!(seats(&[None, None, None], &[0, 1]), [(0, true), (1, false), (0, true)]);
        assert_eq!(seats(&[Some(1), Some(1)], &[0, 1]), [(1, true), (1, true)]);
    }

    #[test]
    fn a_cpu_that_is_not_ours_is_refused_with_those_that_are() {
        assert_eq!(
            assign(&[Some(7)], &[0, 1]).unwrap_err().to_string(),
            "CPU 7 is not one that this process may run on; those are [0, 1] \
             (`taskset -p $$` and the container's cpuset say so)"
        );
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!allowed().unwrap().is_empty());
    }
}
