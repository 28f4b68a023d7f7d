//! Ordinary TCP: the traffic that the program under test must not disturb.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{LOOK, LabError, Namespace, Post, Witness, nothing_came};

/// Connections that a server serves at a time; more have to wait.
const CONNECTIONS_MAX: usize = 16;

/// Octets read or written at a time.
const PIECE: usize = 64 << 10;

/// How long a client waits for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Sends everything back that comes. Its testimony: pieces delivered (as TCP
/// cut them) and pieces sent back.
///
/// # Errors
///
/// Where the address cannot be had.
pub fn echo(namespace: &Namespace, address: SocketAddr) -> Result<Witness, LabError> {
    server(namespace, address, true)
}

/// Takes everything that comes, and counts it in `delivered_octets`.
///
/// # Errors
///
/// Where the address cannot be had.
pub fn swallow(namespace: &Namespace, address: SocketAddr) -> Result<Witness, LabError> {
    server(namespace, address, false)
}

fn server(namespace: &Namespace, address: SocketAddr, answers: bool) -> Result<Witness, LabError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listener = namespace.run(listen)?.map_err(|source: io::Error| {
        LabError::os(format!("listen for TCP at {address}"), source)
    })?;
    Witness::start(namespace, "lab-tcp-server", move |post| accept(&listener, answers, post))
}

fn accept(listener: &TcpListener, answers: bool, post: &Post) -> io::Result<()> {
    thread::scope(|scope| {
        let mut connections = Vec::new();
        while !post.stopped() {
            connections
                .retain(|connection: &thread::ScopedJoinHandle<'_, ()>| !connection.is_finished());
            if connections.len() == CONNECTIONS_MAX {
                thread::sleep(LOOK);
                continue;
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    // A connection that breaks is the client's to tell.
                    let serve = || drop(serve(stream, answers, post));
                    let builder = thread::Builder::new().name("lab-tcp-answer".into());
                    connections.push(builder.spawn_scoped(scope, serve)?);
                }
                Err(error) if nothing_came(&error) => thread::sleep(LOOK),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

fn serve(mut stream: TcpStream, answers: bool, post: &Post) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(CONNECT_PATIENCE))?;
    let mut buffer = vec![0; PIECE];
    while !post.stopped() {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                post.notes.delivered(len);
                if answers {
                    stream.write_all(&buffer[..len])?;
                    post.notes.sent();
                }
            }
            Err(error) if nothing_came(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is exchanged with an [`echo`] server.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Messages, one after the other's answer.
    pub messages: u64,
    /// Octets of each, at least eight.
    pub octets: usize,
    /// How fast at most; zero is as fast as answers come.
    pub per_second: u32,
    /// How long to wait for an answer before giving up.
    pub patience: Duration,
}

/// Connects to `to` and exchanges messages. Its testimony: messages sent, and
/// answers that were those messages.
///
/// # Errors
///
/// Where no thread can be had. That there is no connection, or that it breaks,
/// comes at the end.
pub fn exchange(
    namespace: &Namespace,
    to: SocketAddr,
    exchange: Exchange,
) -> Result<Witness, LabError> {
    Witness::start(namespace, "lab-tcp-client", move |post| {
        let mut stream = connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(exchange.patience.max(LOOK)))?;
        let interval = Duration::from_secs(1).checked_div(exchange.per_second);
        let mut next = Instant::now();
        let mut message = vec![0xa5; exchange.octets.max(8)];
        let mut answer = message.clone();
        for number in 0..exchange.messages {
            if post.stopped() {
                break;
            }
            message[..8].copy_from_slice(&number.to_be_bytes());
            let sent = Instant::now();
            stream.write_all(&message)?;
            post.notes.sent();
            if !read_whole(&mut stream, &mut answer, exchange.patience, post)? {
                break;
            }
            if answer == message {
                post.notes.waited(sent.elapsed());
                post.notes.delivered(answer.len());
            } else {
                post.notes.wrong.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(interval) = interval {
                next += interval;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    })
}

/// Connects to `to`, a [`swallow`] server, and sends `octets` octets. Its
/// testimony: `delivered_octets` that the kernel took from it.
///
/// # Errors
///
/// As [`exchange`].
pub fn pour(namespace: &Namespace, to: SocketAddr, octets: u64) -> Result<Witness, LabError> {
    Witness::start(namespace, "lab-tcp-client", move |post| {
        let mut stream = connect(to)?;
        let piece = vec![0xa5; PIECE];
        let mut left = octets;
        while left > 0 && !post.stopped() {
            let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            match stream.write(&piece[..len]) {
                Ok(taken) => {
                    left -= taken as u64;
                    post.notes.sent();
                    post.notes.delivered_octets.fetch_add(taken as u64, Ordering::Relaxed);
                }
                Err(error) if nothing_came(&error) => {}
                Err(error) => return Err(error),
            }
        }
        stream.shutdown(std::net::Shutdown::Write)
    })
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, CONNECT_PATIENCE)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    Ok(stream)
}

/// Fills `answer`; `false` when told to stop before it was there.
fn read_whole(
    stream: &mut TcpStream,
    answer: &mut [u8],
    patience: Duration,
    post: &Post,
) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    let mut have = 0;
    while have < answer.len() {
        match stream.read(&mut answer[have..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => have += len,
            Err(error) if nothing_came(&error) => {
                if post.stopped() {
                    return Ok(false);
                }
                if Instant::now() >= deadline {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer came"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
