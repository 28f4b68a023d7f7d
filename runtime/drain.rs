//! How a shard leaves: nothing new, everything settled, the law checked.
//!
//! ```text
//!   begin_drain ─► sleepers are told ─► RX rings empty and quiet ─► receivers are told
//!                                                                        │
//!   finished ◄─ TX and completion settled ◄─ services returned ◄─────────┘
//!                or the link takes nothing
//! ```
//!
//! Whoever begins a drain has closed admission before: steering passes to the kernel what it
//! redirected until then. Frames that were on their way are still delivered, and what services
//! send is still sent, but for a link that takes nothing: what is on its TX ring is given up and
//! counted ([`unsent_frames`](crate::metrics::PortStats::unsent_frames)), as closing the socket
//! gives it back. All this has a bound: at the deadline services are dropped where they stand, and
//! the report says so.

use tracing::warn;

use crate::shard::{Shard, State};
use crate::task::Ended;

/// An RX ring that was empty for so long stays empty.
///
/// Between the steering program's last redirect and the frame's appearance in the ring lies one
/// softirq at most. Lower and a frame may come after receivers left (it is counted as abandoned);
/// higher and each drain takes as much longer.
const QUIET_NS: u64 = 2_000_000;

/// A TX ring of which nothing came back for so long is taken for that of a link that is down.
///
/// A completion comes within microseconds, from an emulated card within milliseconds, and behind a
/// receiver that asks for a pause some tens of milliseconds later. Lower gives up frames that such
/// a link would have sent; higher and whoever stops tidegate while a link is down waits as long.
const TX_QUIET_NS: u64 = 200_000_000;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) began_ns: u64,
    deadline_ns: u64,
    last_rx_ns: u64,
    pub(crate) timed_out: bool,
}

impl Shard {
    /// Begins to leave; [`Turn::finished`](crate::turn::Turn::finished) shows when that is done.
    /// A second call changes nothing.
    pub fn begin_drain(&mut self, now_ns: u64) {
        if self.drain.is_some() {
            return;
        }
        self.drain = Some(Drain {
            began_ns: now_ns,
            deadline_ns: now_ns.saturating_add(self.policy.drain_timeout_ns),
            last_rx_ns: now_ns,
            timed_out: false,
        });
        self.shared.draining.set(true);
        for resident in &mut self.residents {
            if matches!(resident.state, State::AwaitsRestart) {
                let cause = "the drain came before its restart";
                resident.state = State::Gone(Ended::Failed(cause.into()));
            }
        }
        self.poll_all();
    }

    /// Whether the shard drains.
    pub const fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// The drain's part in a turn; true once all is settled or the time is up.
    pub(crate) fn drain_further(&mut self, now_ns: u64, received: bool) -> bool {
        let Some(drain) = &mut self.drain else { return false };
        if received {
            drain.last_rx_ns = now_ns;
        }
        let Drain { deadline_ns, last_rx_ns, .. } = *drain;
        let late = now_ns >= deadline_ns;
        drain.timed_out |= late;
        if !self.shared.rx_closed.get() && (late || now_ns - last_rx_ns >= QUIET_NS) {
            self.shared.rx_closed.set(true);
            self.poll_all();
        }
        if late {
            self.drop_services(now_ns);
        }
        let gone = self.residents.iter().all(|resident| matches!(resident.state, State::Gone(_)));
        let sent = self.tx_is_over(now_ns);
        let closed = self.shared.rx_closed.get();
        let finished = late || (gone && sent && closed);
        if finished {
            self.give_up_unsent();
        }
        finished
    }

    /// Whether nothing more will be sent on any port. Who waits for room on one that turns out to
    /// take nothing is told.
    fn tx_is_over(&self, now_ns: u64) -> bool {
        let mut over = true;
        for port in &self.shared.ports {
            let was_stuck = port.tx_is_stuck();
            over &= port.tx_is_over(now_ns, TX_QUIET_NS);
            if port.tx_is_stuck() && !was_stuck {
                self.poll_all();
            }
        }
        over
    }

    /// What the kernel has for sending now comes back by the end of the socket alone.
    fn give_up_unsent(&self) {
        for (port, facts) in self.shared.ports.iter().zip(&self.shared.facts) {
            let unsent = port.queue.borrow().tx_outstanding();
            port.counters.unsent_frames.set(unsent.into());
            if unsent > 0 {
                let (shard, interface) = (self.shared.id, &*facts.interface);
                warn!(%shard, interface, unsent, "frames were given up: the link does not send them");
            }
        }
    }

    /// Time is up: whoever is still there goes as it stands.
    fn drop_services(&mut self, now_ns: u64) {
        for index in 0..self.residents.len() {
            if !matches!(self.residents[index].state, State::Running) {
                continue;
            }
            let cause = || Ended::Failed("still at work at the end of the drain".into());
            let ended = self.residents[index].task.discard().unwrap_or_else(cause);
            self.attribute_reclaimed(index);
            self.end(index, ended, now_ns);
        }
    }

    fn poll_all(&self) {
        for cell in &self.shared.services {
            cell.ready.set(true);
        }
    }
}
