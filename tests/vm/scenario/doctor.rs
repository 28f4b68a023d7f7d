//! The shipped program runs in the guest, and sees real drivers.

use std::process::Command;

use serde_json::Value;

use super::Play;
use crate::image::PROGRAM;
use crate::machine::Nics;

pub(super) struct Doctor;

impl Play for Doctor {
    type Facts = Value;

    fn play(_: Nics) -> Value {
        let said = Command::new(PROGRAM).args(["doctor", "--json"]).output().unwrap();
        let errors = String::from_utf8_lossy(&said.stderr);
        serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }

    fn judge(nics: Nics, report: Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let drivers: Vec<_> =
            list(&report["facts"]["links"]).iter().map(|link| link["driver"].clone()).collect();
        assert_eq!(drivers, [nics.driver(); 2], "{report:#}");
        let problems: Vec<_> = list(&report["findings"])
            .into_iter()
            .filter(|it| it["severity"] == "problem")
            .collect();
        assert_eq!(problems, [] as [Value; 0], "{report:#}");
    }
}
