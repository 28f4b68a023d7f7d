//! The asking end.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ANSWER_MAX, ControlError, instance_of, os};

/// How long a silent process is waited for. Lower, and a machine under flood
/// seems dead; higher, and `stats` hangs with a process that is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the process behind the socket at `path` to run `command`, and returns
/// its answer.
///
/// # Errors
///
/// When nobody answers, the process says no, or it belongs to somebody else.
pub fn request(path: &Path, command: &str) -> Result<Value, ControlError> {
    request_with(path, &json!({ "command": command }))
}

/// [`request`] with more than the command's name: `{"command": name, ...}`.
///
/// # Errors
///
/// As [`request`].
pub fn request_with(path: &Path, request: &Value) -> Result<Value, ControlError> {
    let stream = send(path, request)?;
    let mut answer = String::new();
    let limit = ANSWER_MAX as u64 + 1;
    stream.take(limit).read_to_string(&mut answer).map_err(os("reading from", path))?;
    understand(&answer)
}

/// [`request_with`] for an answer that goes on: its first line, and what the rest is read from. Each
/// read waits for some seconds at most.
///
/// # Errors
///
/// As [`request`].
pub fn request_stream(
    path: &Path,
    request: &Value,
) -> Result<(Value, BufReader<UnixStream>), ControlError> {
    let mut stream = BufReader::new(send(path, request)?);
    let mut answer = String::new();
    let limit = ANSWER_MAX as u64 + 1;
    (&mut stream).take(limit).read_line(&mut answer).map_err(os("reading from", path))?;
    Ok((understand(&answer)?, stream))
}

/// Connects and asks.
fn send(path: &Path, request: &Value) -> Result<UnixStream, ControlError> {
    let mut stream = UnixStream::connect(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning { instance: instance_of(path), path: path.into() }
        }
        io::ErrorKind::PermissionDenied => ControlError::Denied { instance: instance_of(path) },
        _ => os("connecting to", path)(source),
    })?;
    let timeout = Some(ANSWER_TIMEOUT);
    stream.set_read_timeout(timeout).map_err(os("setting a timeout on", path))?;
    stream.set_write_timeout(timeout).map_err(os("setting a timeout on", path))?;
    // A process that refuses what it has not read whole closes early, but has answered.
    match stream.write_all(format!("{request}\n").as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(stream),
        written => written.map_err(os("writing to", path))?,
    }
    stream.shutdown(Shutdown::Write).map_err(os("writing to", path))?;
    Ok(stream)
}

/// The value in an answer line.
fn understand(answer: &str) -> Result<Value, ControlError> {
    let garbled = |why: String| ControlError::Garbled { why: why.into() };
    if answer.is_empty() {
        return Err(garbled("the process closed the connection without one".into()));
    }
    if answer.len() > ANSWER_MAX {
        return Err(garbled(format!("it is longer than {ANSWER_MAX} octets")));
    }
    let mut answer: Value =
        serde_json::from_str(answer).map_err(|error| garbled(error.to_string()))?;
    if let Some(Value::String(message)) = answer.get("error") {
        return Err(ControlError::Remote { message: message.as_str().into() });
    }
    match answer.get_mut("ok") {
        Some(value) => Ok(value.take()),
        None => Err(garbled("it has neither \"ok\" nor \"error\"".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers_and_refusals_and_names_what_is_neither() {
        let text = |answer| understand(answer).map_err(|error| error.to_string());
        assert_eq!(text("{\"ok\":{\"a\":1}}\n"), Ok(json!({"a": 1})));
        assert_eq!(text("{\"ok\":null}\n"), Ok(Value::Null));
        assert_eq!(text("{\"error\":\"no\"}\n"), Err("no".into()));
        for (answer, why) in [
            ("", "the process closed the connection without one"),
            ("{\"ok\":", "EOF while parsing a value at line 1 column 6"),
            ("[]", "it has neither \"ok\" nor \"error\""),
        ] {
            assert_eq!(text(answer), Err(format!("the answer cannot be read: {why}")));
        }
    }
}
