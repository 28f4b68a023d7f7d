//! One line to one family of the kernel's netlink: a request out, answers in.
//!
//! The envelope is the same for all families, so this is the one place that numbers requests, waits
//! for their end and believes an answer. What is inside is the family's own type.

use std::os::fd::AsFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use super::Error;

/// Largest answer that is read in one piece.
///
/// The kernel makes the buffers of a dump 32 KiB at most; a single link with
/// many virtual functions stays below that too. Too small and an answer is cut,
/// which is refused below rather than misread.
pub(super) const ANSWER_OCTETS: usize = 64 << 10;

/// The kernel answers while it handles the request, so this only bounds a
/// kernel that does not answer at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket of one family, in the network namespace that its opening thread was in.
#[derive(Debug)]
pub(super) struct Line {
    socket: Socket,
    sequence: u32,
}

impl Line {
    /// Opens a line to the family of number `protocol`; `request` says so in an error.
    pub(super) fn open(protocol: isize, request: &'static str) -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel's own words about a refusal; kernels without it say less.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            let seconds = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
            setsockopt(&socket.as_fd(), ReceiveTimeout, &TimeVal::new(seconds, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::new(request, source))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request and reads up to its end: the acknowledgement, the end
    /// of the dump, or the refusal.
    pub(super) fn exchange<T>(
        &mut self,
        what: impl Fn() -> String,
        flags: u16,
        message: T,
    ) -> Result<Vec<T>, Error>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.socket.send(&octets, 0).map_err(|source| Error::new(what(), source))?;

        let mut answers = Vec::new();
        loop {
            let mut buffer = Vec::with_capacity(ANSWER_OCTETS);
            let len = self
                .socket
                .recv(&mut buffer, nix::libc::MSG_TRUNC)
                .map_err(|source| Error::new(what(), source))?;
            if len > buffer.len() {
                return Err(Error::unreadable(what(), "answer larger than the buffer"));
            }
            match read_answers(&buffer, self.sequence, &mut answers) {
                Ok(Progress::Complete) => return Ok(answers),
                Ok(Progress::More) => {}
                Err(refusal) => return Err(refusal.about(what())),
            }
        }
    }
}

/// Whether an exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Complete,
}

/// Takes the messages of one datagram that answer request `sequence`.
///
/// Others are left over from an exchange that was given up; they are skipped.
fn read_answers<T: NetlinkDeserializable>(
    mut octets: &[u8],
    sequence: u32,
    answers: &mut Vec<T>,
) -> Result<Progress, Error> {
    let mut progress = Progress::More;
    while !octets.is_empty() {
        let answer = NetlinkMessage::<T>::deserialize(octets)
            .map_err(|cause| Error::unreadable("", cause))?;
        // RFC 3549, 2.2: messages are aligned to four octets; the last may lack its padding.
        let len = (answer.header.length as usize).next_multiple_of(4).min(octets.len());
        assert!(len > 0, "a message that was read has a length");
        octets = &octets[len..];
        if answer.header.sequence_number != sequence {
            continue;
        }
        match answer.payload {
            NetlinkPayload::InnerMessage(inner) => answers.push(inner),
            NetlinkPayload::Done(_) => progress = Progress::Complete,
            NetlinkPayload::Error(refusal) => match refusal.code {
                None => progress = Progress::Complete,
                Some(_) => return Err(Error::refused(&refusal)),
            },
            _ => {}
        }
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, Emitable, ErrorMessage};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn datagram(sequence: u32, payload: NetlinkPayload<RouteNetlinkMessage>) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn none() -> Vec<RouteNetlinkMessage> {
        Vec::new()
    }

    fn answer(name: &str) -> NetlinkPayload<RouteNetlinkMessage> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        RouteNetlinkMessage::NewLink(message).into()
    }

    #[test]
    fn a_dump_goes_on_to_its_end_and_skips_what_answers_another_request() {
        let mut answers = none();
        let first = [datagram(6, answer("old")), datagram(7, answer("odd"))].concat();
        assert_eq!(read_answers(&first, 7, &mut answers).unwrap(), Progress::More);
        let last = [
            datagram(7, answer("even")),
            datagram(7, NetlinkPayload::Done(DoneMessage::default())),
        ]
        .concat();
        assert_eq!(read_answers(&last, 7, &mut answers).unwrap(), Progress::Complete);
        assert_eq!(answers.len(), 2);
    }

    #[test]
    fn a_refusal_ends_the_exchange_and_an_acknowledgement_completes_it() {
        let mut refusal = ErrorMessage::default();
        refusal.code = std::num::NonZeroI32::new(-19);
        refusal.header = vec![0; 16];
        assert_eq!(refusal.buffer_len(), 20);
        let octets = datagram(1, NetlinkPayload::Error(refusal));
        let refused = read_answers(&octets, 1, &mut none()).unwrap_err();
        assert_eq!(refused.errno(), Some(19));

        let mut consent = ErrorMessage::default();
        consent.header = vec![0; 16];
        let octets = datagram(1, NetlinkPayload::Error(consent));
        assert_eq!(read_answers(&octets, 1, &mut none()).unwrap(), Progress::Complete);
    }

    #[test]
    fn octets_that_are_no_message_are_refused_and_never_panic() {
        let whole = datagram(1, answer("tide0"));
        for end in 1..whole.len() {
            let _ = read_answers(&whole[..end], 1, &mut none());
        }
        let refused = read_answers(&[0xa5; 7], 1, &mut none()).unwrap_err();
        assert_eq!(refused.errno(), None);
    }
}
