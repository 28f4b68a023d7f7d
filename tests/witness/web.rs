//! A web server (nginx) asked by curl, a connection for each file, while others only ask for
//! connections.

use std::fs;

use tidegate::lab::flood::Kind;

use super::{Goodput, Quay, Server, program, seconds};
use crate::require;

pub(super) const PORT: u16 = 80;

/// Files a second.
const PER_SECOND: u64 = 40;

/// Octets of a file.
const OCTETS: usize = 40_000;

fn nginx(quay: &Quay) -> Server {
    let folder = quay.folder.to_str().unwrap();
    fs::create_dir(quay.folder.join("files")).unwrap();
    let octets: Vec<u8> = (b'a'..=b'w').cycle().take(OCTETS).collect();
    quay.write("files/tide", octets);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    let config = quay.write(
        "nginx.conf",
        format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {folder}/nginx.pid;\n\
             error_log {folder}/nginx.log;\nevents {{ worker_connections 512; }}\n\
             http {{\n{temporary}access_log off;\nkeepalive_timeout 0;\n\
             server {{ listen {}; root {folder}/files; }}\n}}\n",
            quay.at(PORT),
        ),
    );
    quay.serve(program("nginx", &["-c", &config, "-e", &format!("{folder}/nginx.log")]), PORT)
}

fn files(quay: &Quay) -> Goodput {
    let asked = PER_SECOND * seconds();
    let url = format!("http://{}/tide?[1-{asked}]", quay.at(PORT));
    let rate = format!("{}/m", PER_SECOND * 60);
    let output = quay.ask(&mut program(
        "curl",
        // One after the other, each with a second, none again.
        &[
            "--silent",
            "--http1.1",
            "--max-time",
            "1",
            "--rate",
            &rate,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{size_download}\n",
            &url,
        ],
    ));
    let text = String::from_utf8_lossy(&output.stdout);
    let whole = format!("200 {OCTETS}");
    assert_eq!(text.lines().count() as u64, asked, "{output:?}");
    Goodput { asked, got: text.lines().filter(|line| *line == whole).count() as u64 }
}

#[test]
fn a_web_server_serves_under_flood_as_without() {
    require_net!();
    if !(require::program("nginx") && require::program("curl")) {
        return;
    }
    let _alone = require::alone();
    let quay = Quay::new();
    let _server = nginx(&quay);
    quay.compare("nginx, curl, spoofed SYN", Kind::Syn { port: PORT }, &files);
}
