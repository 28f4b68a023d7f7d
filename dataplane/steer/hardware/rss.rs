//! The RSS indirection table: which queue each hash comes to. Pure.
//!
//! ```text
//!   before   0 1 2 3 0 1 2 3      queues 1 and 2 are taken
//!   ours     0 0 3 3 0 0 3 3      what came to them comes to the others
//! ```

/// The table in which no entry names a `taken` queue; `None` where there is no other queue.
///
/// An entry that names another queue stays as it is. What came to the taken ones goes, entry by
/// entry, to the queue with the fewest entries then, the lowest number among equals: so it is even
/// and the same at each call. Only queues that the table names already get some, as an operator may
/// have kept others out of it; where it names none but taken ones, all others do.
pub fn isolate(table: &[u32], taken: &[u32], rings: u32) -> Option<Vec<u32>> {
    let is_other = |queue: &u32| !taken.contains(queue);
    let mut loads: Vec<(u32, usize)> = (0..rings)
        .filter(is_other)
        .map(|queue| (queue, table.iter().filter(|entry| **entry == queue).count()))
        .collect();
    if loads.iter().any(|(_, load)| *load > 0) {
        loads.retain(|(_, load)| *load > 0);
    }
    let mut spread = |entry: u32| {
        if is_other(&entry) {
            return Some(entry);
        }
        // The first of the least: `loads` is in the order of the queues.
        let (queue, load) = loads.iter_mut().min_by_key(|(_, load)| *load)?;
        *load += 1;
        Some(*queue)
    };
    table.iter().map(|entry| spread(*entry)).collect()
}

/// Whether this is the table that the kernel makes where none was set by hand
/// (`ethtool_rxfh_indir_default` of `linux/ethtool.h`).
pub fn is_default(table: &[u32], rings: u32) -> bool {
    rings > 0 && (0..rings).cycle().zip(table).all(|(queue, entry)| queue == *entry)
}

/// The `taken` queues that no entry of `table` names.
pub fn kept_out(table: &[u32], taken: &[u32]) -> Vec<u32> {
    taken.iter().copied().filter(|queue| !table.contains(queue)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::hardware::testing::Random;

    #[test]
    fn gives_the_entries_of_taken_queues_to_the_others_evenly() {
        let isolated = |table: &[u32], taken: &[u32]| isolate(table, taken, 4).unwrap();
        assert_eq!(isolated(&[0, 1, 2, 3, 0, 1, 2, 3], &[1, 2]), [0, 0, 3, 3, 0, 0, 3, 3]);
        // As igb spreads them.
        assert_eq!(isolated(&[0, 0, 1, 1, 2, 2, 3, 3], &[3]), [0, 0, 1, 1, 2, 2, 0, 1]);
        // One queue more than entries to give.
        assert_eq!(isolated(&[0, 1, 2, 3], &[0]), [1, 1, 2, 3]);
    }

    #[test]
    fn leaves_a_table_that_names_none_of_them() {
        assert_eq!(isolate(&[0, 3, 0, 3], &[1, 2], 4).unwrap(), [0, 3, 0, 3]);
        assert_eq!(isolate(&[0, 1], &[9], 2).unwrap(), [0, 1], "a queue that is not there");
    }

    #[test]
    fn a_queue_that_the_operator_kept_out_stays_out() {
        // ethtool -X eth1 equal 2, of four.
        assert_eq!(isolate(&[0, 1, 0, 1], &[1], 4).unwrap(), [0, 0, 0, 0]);
        // Unless nobody else is there.
        assert_eq!(isolate(&[0, 1, 0, 1], &[0, 1], 4).unwrap(), [2, 3, 2, 3]);
    }

    #[test]
    fn there_must_be_another_queue() {
        assert_eq!(isolate(&[0, 1], &[0, 1], 2), None);
        assert_eq!(isolate(&[0, 0], &[0], 1), None);
    }

    #[test]
    fn knows_the_kernels_own_table() {
        assert!(is_default(&[0, 1, 2, 0, 1, 2, 0, 1], 3));
        assert!(is_default(&[0; 128], 1));
        assert!(!is_default(&[0, 0, 1, 1], 2), "igb's own");
        assert!(!is_default(&[0, 1, 0, 1], 4), "set for two of four queues");
        assert!(!is_default(&[0], 0));
    }

    /// What must hold of every table, whatever the operator set before.
    #[test]
    fn holds_for_tables_at_random() {
        let mut random = Random::seeded();
        for _ in 0..2000 {
            let rings = 1 + random.below(9);
            let named = 1 + random.below(rings);
            let table: Vec<u32> = (0..1 + random.below(40)).map(|_| random.below(named)).collect();
            let taken: Vec<u32> = (0..rings).filter(|_| random.below(3) == 0).collect();
            let Some(ours) = isolate(&table, &taken, rings) else {
                assert!((0..rings).all(|queue| taken.contains(&queue)));
                assert!(table.iter().any(|entry| taken.contains(entry)));
                continue;
            };
            assert_eq!(kept_out(&ours, &taken), taken, "{table:?}");
            assert_eq!(ours.len(), table.len());
            assert!(ours.iter().all(|entry| *entry < rings));
            for (before, after) in table.iter().zip(&ours) {
                assert!(taken.contains(before) || before == after, "{table:?} {ours:?}");
            }
            let load = |queue: &u32| ours.iter().filter(|entry| *entry == queue).count();
            let gained =
                |queue: &&u32| load(queue) > table.iter().filter(|entry| entry == queue).count();
            let receives: Vec<u32> = (0..rings).filter(|queue| load(queue) > 0).collect();
            // Nobody who got some has more than one entry above anybody who could have.
            if let Some(most) = receives.iter().filter(gained).map(load).max() {
                assert!(receives.iter().all(|queue| load(queue) + 1 >= most), "{ours:?}");
            }
            // A second time changes nothing.
            assert_eq!(isolate(&ours, &taken, rings).unwrap(), ours);
        }
    }
}
