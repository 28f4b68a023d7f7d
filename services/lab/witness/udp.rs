//! Questions and answers in datagrams.
//!
//! A datagram starts with a mark: [`QUESTION`] is answered with itself, any
//! other is only counted, by its mark; so a server knows what of a flood
//! reached it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::{LOOK, LabError, Namespace, Post, Testimony, Witness, nothing_came};

/// First octet of a question.
pub const QUESTION: u8 = b'A';

/// Octets of the mark, seven of zero, and the question's number.
const HEAD: usize = 16;

/// Octets that a socket may hold unread, so that a server which lost its
/// processor for some milliseconds of a flood has not lost packets too.
const RECEIVE_BUFFER_OCTETS: usize = 8 << 20;

/// A kernel socket that answers.
#[derive(Debug)]
pub struct Server {
    witness: Witness,
    heard: Arc<[AtomicU64; 256]>,
}

impl Server {
    /// Starts one at `address` in `namespace`.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self, LabError> {
        let socket = bind(namespace, address)?;
        let heard = Arc::new([const { AtomicU64::new(0) }; 256]);
        let own = Arc::clone(&heard);
        let work = move |post: &Post| serve(&socket, post, &own);
        let witness = Witness::start(namespace, "lab-udp-server", work)?;
        Ok(Self { witness, heard })
    }

    /// Datagrams heard so far that started with `mark`.
    pub fn heard(&self, mark: u8) -> u64 {
        self.heard[usize::from(mark)].load(Ordering::Relaxed)
    }

    /// What it saw so far: questions delivered and answers sent; every other
    /// datagram is wrong.
    pub fn testimony(&self) -> Testimony {
        self.witness.testimony()
    }

    /// Ends it and gives its last word.
    ///
    /// # Errors
    ///
    /// Where its socket failed.
    pub fn stop(self) -> Result<Testimony, LabError> {
        self.witness.stop()
    }
}

fn bind(namespace: &Namespace, address: SocketAddr) -> Result<UdpSocket, LabError> {
    let open = || {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(LOOK))?;
        // Past the machine's limit only with a capability; the limit will do without.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_OCTETS).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_OCTETS)?;
        }
        Ok(socket)
    };
    namespace.run(open)?.map_err(|source: io::Error| {
        LabError::os(format!("open a UDP socket at {address}"), source)
    })
}

fn serve(socket: &UdpSocket, post: &Post, heard: &[AtomicU64; 256]) -> io::Result<()> {
    let mut buffer = [0; 2048];
    while !post.stopped() {
        let (len, from) = match socket.recv_from(&mut buffer) {
            Ok(datagram) => datagram,
            Err(error) if nothing_came(&error) => continue,
            Err(error) => return Err(error),
        };
        let datagram = &buffer[..len];
        let mark = datagram.first().copied().unwrap_or(0);
        heard[usize::from(mark)].fetch_add(1, Ordering::Relaxed);
        if mark != QUESTION {
            post.notes.wrong.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        post.notes.delivered(len);
        // An answer that finds no room or no way is one that the other side will miss.
        if socket.send_to(datagram, from).is_ok() {
            post.notes.sent();
        }
    }
    Ok(())
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Questions {
    /// How many.
    pub count: u32,
    /// How fast.
    pub per_second: u32,
    /// Octets of each, at least 16 and at most 1400.
    pub octets: u16,
    /// How long to wait for answers after the last question.
    pub patience: Duration,
}

/// Asks the server at `to` and counts the answers: each number once, octet for
/// octet what was sent.
///
/// # Errors
///
/// Where no socket can be had.
pub fn ask(
    namespace: &Namespace,
    from: SocketAddr,
    to: SocketAddr,
    questions: Questions,
) -> Result<Witness, LabError> {
    let socket = bind(namespace, from)?;
    Witness::start(namespace, "lab-udp-client", move |post| {
        Asker::new(to, questions).ask(&socket, post)
    })
}

struct Asker {
    to: SocketAddr,
    questions: Questions,
    /// When each question was sent; taken when its answer came.
    open: Vec<Option<Instant>>,
    answered: usize,
}

impl Asker {
    fn new(to: SocketAddr, questions: Questions) -> Self {
        Self { to, questions, open: Vec::with_capacity(questions.count as usize), answered: 0 }
    }

    fn ask(mut self, socket: &UdpSocket, post: &Post) -> io::Result<()> {
        let count = self.questions.count as usize;
        let interval = Duration::from_secs(1) / self.questions.per_second.max(1);
        let mut next = Instant::now();
        let mut end = next + interval * self.questions.count + self.questions.patience;
        let mut buffer = [0; 2048];
        while !post.stopped() && self.answered < count {
            let now = Instant::now();
            if self.open.len() < count && now >= next {
                self.send(socket, post, now)?;
                next += interval;
                end = end.max(now + self.questions.patience);
                continue;
            }
            if now >= end {
                break;
            }
            let until = if self.open.len() < count { next } else { end };
            let wait = until.saturating_duration_since(now);
            // Zero would mean to wait for ever.
            socket.set_read_timeout(Some(wait.clamp(Duration::from_micros(50), LOOK)))?;
            match socket.recv_from(&mut buffer) {
                Ok((len, _)) => self.hear(&buffer[..len], post),
                Err(error) if nothing_came(&error) => {}
                // An ICMP error about an earlier question: it stays unanswered.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, socket: &UdpSocket, post: &Post, now: Instant) -> io::Result<()> {
        let datagram = question(self.open.len() as u64, self.questions.octets);
        match socket.send_to(&datagram, self.to) {
            Ok(_) => {
                post.notes.sent();
                self.open.push(Some(now));
                Ok(())
            }
            // No room now, or the link is down for a moment: asked again an interval later.
            Err(error) if nothing_came(&error) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NetworkDown
                        | io::ErrorKind::NetworkUnreachable
                        | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn hear(&mut self, answer: &[u8], post: &Post) {
        let number = answer.get(8..HEAD).and_then(|octets| octets.try_into().ok());
        let number = number.map(u64::from_be_bytes).unwrap_or(u64::MAX);
        let slot = usize::try_from(number).ok().and_then(|number| self.open.get_mut(number));
        match slot {
            Some(slot) if answer == question(number, self.questions.octets) => match slot.take() {
                Some(sent) => {
                    self.answered += 1;
                    post.notes.waited(sent.elapsed());
                    post.notes.delivered(answer.len());
                }
                None => {
                    post.notes.duplicate.fetch_add(1, Ordering::Relaxed);
                }
            },
            _ => {
                post.notes.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Question `number`: mark, number, and then octets that follow from both.
fn question(number: u64, octets: u16) -> Vec<u8> {
    let len = usize::from(octets).clamp(HEAD, 1400);
    let mut datagram: Vec<u8> = (0..len).map(|at| (at as u64 ^ number).to_le_bytes()[0]).collect();
    datagram[..8].fill(0);
    datagram[0] = QUESTION;
    datagram[8..HEAD].copy_from_slice(&number.to_be_bytes());
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    #[test]
    fn an_answer_counts_once_and_only_octet_for_octet() {
        let questions = Questions { count: 2, per_second: 1, octets: 20, patience: Duration::ZERO };
        let mut asker = Asker::new(TO, questions);
        asker.open = vec![Some(Instant::now()); 2];
        let post = Post::default();
        asker.hear(&question(1, 20), &post);
        asker.hear(&question(1, 20), &post);
        let mut bent = question(0, 20);
        bent[19] ^= 1;
        asker.hear(&bent, &post);
        asker.hear(&question(2, 20), &post);
        asker.hear(&question(0, 20)[..15], &post);
        asker.hear(&[], &post);
        let testimony = post.notes.read();
        assert_eq!((testimony.delivered, testimony.delivered_octets), (1, 20));
        assert_eq!((testimony.duplicate, testimony.wrong), (1, 4));
        assert_eq!(asker.answered, 1);
    }

    #[test]
    fn questions_have_at_least_a_head_and_fit_a_packet() {
        assert_eq!(question(7, 0).len(), HEAD);
        assert_eq!(question(7, u16::MAX).len(), 1400);
    }
}
