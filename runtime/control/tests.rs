//! Both ends together, in a directory of each test's own.

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

/// A directory that does not exist yet, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("tidegate-test-{}-{n}", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn handlers() -> Handlers {
    Handlers::new()
        .on("stats", |_| Ok(json!({ "turns": 7 })))
        .on("echo", |request| Ok(request["word"].clone()))
        .on("sulk", |_| Err("not today".into()))
        .on("fail", |_| panic!("a mistake in a handler"))
}

fn error(result: Result<Value, ControlError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn answers_commands_and_refuses_what_it_does_not_know() {
    let place = Place::new();
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    let path = server.path();
    assert_eq!(request(path, "stats").unwrap(), json!({ "turns": 7 }));
    let echo = json!({ "command": "echo", "word": "tide\n" });
    assert_eq!(request_with(path, &echo).unwrap(), json!("tide\n"));
    assert_eq!(error(request(path, "sulk")), "not today");
    assert_eq!(
        error(request(path, "stop")),
        "no command \"stop\"; there are: echo, fail, stats, sulk"
    );
    assert_eq!(error(request_with(path, &json!([]))), "the request has no \"command\"");
}

#[test]
fn a_handler_that_panics_answers_and_the_next_client_is_served() {
    let place = Place::new();
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    assert_eq!(error(request(server.path(), "fail")), "\"fail\" failed; the log says why");
    assert_eq!(request(server.path(), "stats").unwrap(), json!({ "turns": 7 }));
}

/// Sends octets as they are and returns the answer.
fn raw(path: &Path, octets: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // The process may answer and close before it has read everything.
    let _ = stream.write_all(octets);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn garbage_is_answered_with_an_error_or_with_silence() {
    let place = Place::new();
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    let answer = raw(server.path(), b"GET / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("{\"error\":\"the request is not one line of JSON"), "{answer}");
    let answer = raw(server.path(), b"\xff\xfe\n");
    assert_eq!(answer, "{\"error\":\"the request is not UTF-8\"}\n");
    let answer = raw(server.path(), &vec![b'a'; REQUEST_MAX + 1]);
    assert_eq!(answer, "{\"error\":\"the request is too long\"}\n");
    raw(server.path(), b"");
    assert_eq!(request(server.path(), "stats").unwrap(), json!({ "turns": 7 }));
}

#[test]
fn a_client_that_says_nothing_keeps_the_next_one_for_a_second() {
    let place = Place::new();
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    let silent = UnixStream::connect(server.path()).unwrap();
    let start = Instant::now();
    assert_eq!(request(server.path(), "stats").unwrap(), json!({ "turns": 7 }));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    drop(silent);
}

#[test]
fn two_processes_of_one_name_do_not_collide() {
    let place = Place::new();
    let first = Server::start(&place.0, "one", handlers()).unwrap();
    let refusal = Server::start(&place.0, "one", handlers()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!(
            "instance \"one\" runs already, as process {}; \
             stop that one or choose another name",
            std::process::id()
        )
    );
    assert_eq!(request(first.path(), "stats").unwrap(), json!({ "turns": 7 }));
    let other = Server::start(&place.0, "two", handlers()).unwrap();
    assert_ne!(first.path(), other.path());
    drop(first);
    Server::start(&place.0, "one", handlers()).unwrap();
}

#[test]
fn of_many_that_start_at_once_exactly_one_wins() {
    let place = Place::new();
    for _ in 0..20 {
        let servers: Vec<_> = thread::scope(|scope| {
            let start = || Server::start(&place.0, "one", handlers());
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
        });
        assert_eq!(servers.len(), 1);
        assert_eq!(request(servers[0].path(), "stats").unwrap(), json!({ "turns": 7 }));
    }
}

#[test]
fn a_socket_left_by_a_dead_process_is_replaced() {
    let place = Place::new();
    private_directory(&place.0).unwrap();
    let path = socket_path(&place.0, "one").unwrap();
    drop(UnixListener::bind(&path).unwrap());
    fs::write(place.0.join("one.lock"), "4194304\n").unwrap();
    assert!(error(request(&path, "stats")).starts_with("no tidegate runs as instance \"one\""));
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    assert_eq!(request(server.path(), "stats").unwrap(), json!({ "turns": 7 }));
}

#[test]
fn is_for_the_owner_alone_and_leaves_nothing_behind() {
    let place = Place::new();
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.0), mode(server.path())), (0o700, 0o600));
    let path = server.path().to_owned();
    drop(server);
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
    assert_eq!(
        error(request(&path, "stats")),
        format!(
            "no tidegate runs as instance \"one\" (nobody answers at {}); \
             start it with `tidegate run --config FILE`",
            path.display()
        )
    );
}

#[test]
fn a_directory_that_others_could_enter_is_refused() {
    let place = Place::new();
    let refusal = || Server::start(&place.0, "one", handlers()).unwrap_err().to_string();
    let expected = |why| {
        format!(
            "{} {why}, so others could answer in this program's place; \
             remove it and start again",
            place.0.display()
        )
    };
    fs::create_dir(&place.0).unwrap();
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(refusal(), expected("is open to other users"));
    fs::remove_dir(&place.0).unwrap();
    std::os::unix::fs::symlink(env::temp_dir(), &place.0).unwrap();
    assert_eq!(refusal(), expected("is not a directory"));
    fs::remove_file(&place.0).unwrap();
}

#[test]
fn a_name_that_is_no_file_name_is_refused() {
    let place = Place::new();
    let long = "a".repeat(INSTANCE_MAX + 1);
    for name in ["", "../one", "o ne", "one.two", &long] {
        let refusal = Server::start(&place.0, name, handlers()).unwrap_err().to_string();
        assert_eq!(
            refusal,
            format!(
                "{name:?} cannot name an instance; \
                 allowed are 1 to 32 of a-z, A-Z, 0-9, - and _"
            )
        );
    }
    assert!(!place.0.exists());
}

#[test]
fn says_what_else_went_wrong() {
    let path: Box<Path> = Path::new("/run/x/one.sock").into();
    let source = io::Error::from_raw_os_error(24);
    for (error, text) in [
        (
            ControlError::Running { instance: "one".into(), pid: None },
            "instance \"one\" is being started by another process; \
             stop that one or choose another name",
        ),
        (
            ControlError::Denied { instance: "one".into() },
            "instance \"one\" belongs to another user; ask as that user or root",
        ),
        (
            ControlError::Os { what: "listening at", path, source },
            "listening at /run/x/one.sock failed",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_request_may_be_as_long_as_a_large_set_of_rules() {
    let place = Place::new();
    let server = Server::start(&place.0, "one", handlers()).unwrap();
    let word = "x".repeat(4 << 20);
    let echo = json!({ "command": "echo", "word": word });
    assert_eq!(request_with(server.path(), &echo).unwrap(), json!(word));
}

/// Counts until nobody reads, or to `count`.
fn counting(ended: Arc<AtomicU32>) -> Handlers {
    handlers().on_stream("count", move |request| {
        let to = request["to"].as_u64().ok_or("count needs \"to\"")?;
        let ended = Arc::clone(&ended);
        let more = move |mut connection: Connection| {
            for n in 0..to {
                let said = connection.write(format!("{n}\n").as_bytes());
                if said.is_err() || connection.pause(Duration::from_millis(1)).is_some() {
                    break;
                }
            }
            ended.fetch_add(1, Ordering::SeqCst);
        };
        Ok((json!("begun"), more))
    })
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_answer_may_go_on_while_others_are_served() {
    let place = Place::new();
    let ended = Arc::<AtomicU32>::default();
    let server = Server::start(&place.0, "one", counting(Arc::clone(&ended))).unwrap();
    let refusal = request_stream(server.path(), &json!({ "command": "count" })).unwrap_err();
    assert_eq!(refusal.to_string(), "count needs \"to\"");
    let ask = json!({ "command": "count", "to": 5 });
    let (first, rest) = request_stream(server.path(), &ask).unwrap();
    assert_eq!(request(server.path(), "stats").unwrap(), json!({ "turns": 7 }));
    let lines: Vec<String> = rest.lines().map(Result::unwrap).collect();
    assert_eq!((first, lines.join(" ")), (json!("begun"), "0 1 2 3 4".to_owned()));
}

#[test]
fn a_client_that_hangs_up_ends_its_answer_and_there_are_only_so_many() {
    let place = Place::new();
    let ended = Arc::<AtomicU32>::default();
    let server = Server::start(&place.0, "one", counting(Arc::clone(&ended))).unwrap();
    let ask = json!({ "command": "count", "to": u64::MAX });
    let mut clients: Vec<_> =
        (0..STREAMS_MAX).map(|_| request_stream(server.path(), &ask).unwrap()).collect();
    let refusal = request_stream(server.path(), &ask).unwrap_err().to_string();
    assert_eq!(refusal, "4 clients are being served such answers; end one of them first");
    clients.pop();
    until("the client's end was not noticed", || ended.load(Ordering::SeqCst) == 1);
    until("its place was not free again", || {
        request_stream(server.path(), &ask).is_ok_and(|it| {
            clients.push(it);
            true
        })
    });
    // The end of the process ends them all.
    drop(server);
    assert_eq!(ended.load(Ordering::SeqCst), 1 + 4);
}
