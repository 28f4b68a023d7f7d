//! How commands ask a process that runs.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_runtime::control;

use super::args::Asked;

/// The socket of who is asked.
///
/// # Errors
///
/// When the instance's name cannot name one.
pub(super) fn socket(asked: &Asked) -> io::Result<PathBuf> {
    match &asked.socket {
        Some(path) => Ok(path.clone()),
        None => {
            control::socket_path(&control::directory(), &asked.instance).map_err(io::Error::other)
        }
    }
}

/// The request of a command, with what it says besides.
pub(super) fn request(asked: &Asked, command: &str, more: &Value) -> Value {
    let mut request = json!({ "command": command });
    if let Some(service) = &asked.service {
        request["service"] = json!(service);
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    request
}

/// Asks, and waits for the answer.
///
/// # Errors
///
/// When nobody answers, or the answer is no.
pub(super) fn ask(asked: &Asked, command: &str, more: &Value) -> io::Result<Value> {
    control::request_with(&socket(asked)?, &request(asked, command, more)).map_err(io::Error::other)
}

/// A number of an answer; 0 where it is not there.
pub(super) fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

/// A text of an answer; empty where it is not there.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// A list of an answer; empty where it is not there.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_command_the_service_and_the_rest() {
        let mut asked = Asked { instance: "main".into(), socket: None, service: None };
        assert_eq!(request(&asked, "top", &json!({})), json!({ "command": "top" }));
        asked.service = Some("shield".into());
        assert_eq!(
            request(&asked, "rules", &json!({ "do": "list" })),
            json!({ "command": "rules", "service": "shield", "do": "list" })
        );
        asked.instance = "../up".into();
        assert!(socket(&asked).is_err());
    }
}
