//! What a queue tells the steering program, once in each turn.

use super::Queue;
use crate::steer::Tidings;

/// Numbers that were given and never came are lost for certain when none is given for so long and
/// the ring is empty: a packet is on its ring when the driver's poll ends, after two milliseconds
/// at the most by the kernel's rule (`netdev_budget_usecs`), or after a virtual processor's pause.
/// It is needed only where nothing else comes on the queue: the next packet tells it too. Lower, and
/// a long pause in a poll could let one packet overtake another; higher, and the end of a drain
/// waits as long after a loss.
const LOST_NS: u64 = 100_000_000;

#[derive(Debug)]
pub(super) struct Telling {
    tidings: Tidings,
    /// The last number given, and since when.
    quiet: (u64, u64),
}

impl Queue {
    /// Has the queue tell the steering program by `tidings`, which are those of its own number and
    /// interface, in each [`Self::tell`].
    pub fn set_tidings(&mut self, tidings: Tidings) {
        self.umem.keep_ledger();
        self.telling = Some(Telling { tidings, quiet: (0, 0) });
    }

    /// Whether [`Self::tell`] is to be called every [`crate::steer::BEAT_NS`] at the latest.
    pub const fn tells(&self) -> bool {
        self.telling.is_some()
    }

    /// The end of a turn that began at `now_ns`: tells that the shard lives, and how far it is. What
    /// was reinjected before has been handed over by now.
    #[inline]
    pub fn tell(&mut self, now_ns: u64) {
        let Some(Telling { tidings, quiet }) = &mut self.telling else { return };
        tidings.beat(now_ns);
        let (settled, none_held) = self.umem.settled();
        tidings.settle(settled);
        if !none_held || self.rings.rx.waiting() > 0 {
            return;
        }
        let numbered = tidings.numbered();
        if numbered == tidings.settled() || numbered != quiet.0 {
            *quiet = (numbered, now_ns);
        } else if now_ns.saturating_sub(quiet.1) >= LOST_NS {
            tidings.settle(numbered);
        }
    }

    /// The number up to which all is told to be settled.
    pub fn told(&self) -> Option<u64> {
        self.telling.as_ref().map(|telling| telling.tidings.settled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::umem::{Options, Pages};
    use crate::xsk::testing::{Kernel, pair};

    fn bench() -> (Queue, Kernel) {
        let umem = Options { chunk_octets: 2048, frames: 64, pages: Pages::Ordinary };
        let (mut queue, kernel) = pair(&umem, 16, 16).unwrap();
        queue.set_tidings(Tidings::unheard().unwrap());
        (queue, kernel)
    }

    fn give(queue: &mut Queue, number: u64) {
        queue.telling.as_mut().unwrap().tidings.set_numbered(number);
    }

    #[test]
    fn what_is_held_holds_the_number_back_whatever_ends_around_it() {
        let (mut queue, mut kernel) = bench();
        for number in 1..=4 {
            kernel.deliver_numbered(b"a packet", 3, number, number == 4);
        }
        kernel.deliver(b"of another selector", 5);
        let mut frames: Vec<Frame> = Vec::new();
        assert_eq!(queue.recv(&mut frames, 64), 5);
        assert_eq!(frames[3].selector(), 3);
        assert_eq!([2, 3, 4].map(|at: usize| frames[at].is_ordered()), [false, true, false]);
        let told = |queue: &mut Queue| {
            queue.tell(1_000);
            queue.told()
        };
        assert_eq!(told(&mut queue), Some(0));
        // Dropped in silence, sent, released.
        drop(frames.remove(0));
        assert_eq!(told(&mut queue), Some(1));
        let mut group = [frames.remove(1)].into_iter().collect();
        assert_eq!(queue.send(&mut group), 1);
        assert_eq!(told(&mut queue), Some(1), "number 2 is held");
        frames.remove(0).release();
        assert_eq!(told(&mut queue), Some(3));
        frames.remove(0).release();
        assert_eq!(told(&mut queue), Some(4), "a packet without a number holds nothing back");
    }

    #[test]
    fn numbers_that_never_come_are_lost_after_a_while_or_by_the_next_that_comes() {
        let (mut queue, mut kernel) = bench();
        give(&mut queue, 5);
        for now_ns in [1, LOST_NS / 2, LOST_NS] {
            queue.tell(now_ns);
            assert_eq!(queue.told(), Some(0), "{now_ns}");
        }
        queue.tell(LOST_NS + 1);
        assert_eq!(queue.told(), Some(5));
        kernel.deliver_numbered(b"a packet", 3, 8, false);
        give(&mut queue, 8);
        queue.tell(9 * LOST_NS);
        assert_eq!(queue.told(), Some(5), "it is on the ring");
        let mut frames: Vec<Frame> = Vec::new();
        queue.recv(&mut frames, 64);
        queue.tell(10 * LOST_NS);
        assert_eq!(queue.told(), Some(7));
        frames.clear();
        queue.tell(11 * LOST_NS);
        assert_eq!(queue.told(), Some(8));
    }
}
