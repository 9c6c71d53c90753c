//! The stages, namespaces, limits and exit codes of the document are those of the code.

use super::{code, table};
use crate::session::exit_code;
use crate::wire::{Namespace, Stage};
use std::collections::BTreeSet;

#[test]
fn the_stages_are_those_of_the_code() {
    let documented: Vec<_> = table("Stages")
        .into_iter()
        .flat_map(|row| code(row[0]))
        .map(String::from)
        .collect();
    let unique: BTreeSet<_> = documented.iter().cloned().collect();
    assert_eq!(unique.len(), documented.len(), "a stage stands there twice");
    assert_eq!(unique, Stage::all().map(Stage::name).collect());
}

#[test]
fn the_exit_codes_are_those_of_the_code() {
    let documented: Vec<_> = table("Exit codes").iter().map(|row| row[0]).collect();
    let plain = [
        exit_code::SUCCESS,
        exit_code::CHANNEL,
        exit_code::MALFORMED,
        exit_code::CLONE,
        exit_code::INFRASTRUCTURE,
        128 + libc::SIGTERM,
    ];
    let expected = plain.map(|code| code.to_string());
    assert_eq!(documented, [&expected[..], &["128 + n".into()]].concat());
    for row in table("Stages") {
        for code in row[4].split(", ").filter(|cell| *cell != "–") {
            assert!(documented.contains(&code), "{row:?}");
        }
    }
}

#[test]
fn the_namespaces_are_those_of_the_code_in_their_order() {
    let documented = table("Namespaces").into_iter().map(|row| {
        let cells: Vec<_> = row.into_iter().flat_map(code).collect();
        <[&str; 3]>::try_from(cells).unwrap()
    });
    let expected = Namespace::ALL.map(|namespace| {
        let flag = match namespace.clone_flag() {
            libc::CLONE_NEWUSER => "CLONE_NEWUSER",
            libc::CLONE_NEWNS => "CLONE_NEWNS",
            libc::CLONE_NEWUTS => "CLONE_NEWUTS",
            libc::CLONE_NEWIPC => "CLONE_NEWIPC",
            libc::CLONE_NEWCGROUP => "CLONE_NEWCGROUP",
            libc::CLONE_NEWNET => "CLONE_NEWNET",
            libc::CLONE_NEWTIME => "CLONE_NEWTIME",
            libc::CLONE_NEWPID => "CLONE_NEWPID",
            other => panic!("{other}"),
        };
        [namespace.name(), flag, namespace.proc_name()]
    });
    assert_eq!(documented.collect::<Vec<_>>(), expected);
}

#[test]
fn the_limits_are_those_of_the_code() {
    let documented: BTreeSet<_> = table("Limits")
        .iter()
        .map(|row| (row[0], number(row[1])))
        .collect();
    let milliseconds = |duration: std::time::Duration| duration.as_millis() as u64;
    let code = [
        ("frame body", crate::wire::frame::LIMIT as u64),
        ("nesting", crate::wire::screen::MAX_DEPTH as u64),
        ("elements", crate::wire::screen::MAX_ELEMENTS as u64),
        ("options", crate::wire::screen::MAX_OPTIONS as u64),
        ("signal number", crate::sys::signals::LAST as u64),
        ("waiting commands", crate::session::MAX_WAITING as u64),
        (
            "bytes in waiting commands",
            crate::session::MAX_WAITING_BYTES as u64,
        ),
        ("waiting signals", crate::session::MAX_SIGNALS as u64),
        ("abort patience", crate::session::ABORT_PATIENCE),
        ("sweep patience", milliseconds(crate::reap::sweep::PATIENCE)),
        (
            "seccomp instructions",
            crate::confine::seccomp::MAX_INSTRUCTIONS as u64,
        ),
        (
            "seccomp instructions announced",
            crate::confine::seccomp::MAX_ANNOUNCED as u64,
        ),
        (
            "seccomp instruction",
            crate::sys::seccomp::INSTRUCTION as u64,
        ),
        ("input taken", crate::stdio::input::TAKEN as u64),
        ("input waiting", crate::stdio::input::MAX_BACKLOG as u64),
        ("least input", crate::stdio::input::LEAST as u64),
        ("output copied", crate::host::output::PIECE as u64),
        ("output moved", crate::host::output::MOST as u64),
        (
            "terminal remainder",
            crate::host::terminal::REMAINDER as u64,
        ),
        ("channel read", crate::host::control::READ as u64),
        ("outbox full", crate::host::control::FULL as u64),
        ("outbox low", crate::host::control::LOW as u64),
        ("outbox overfull", crate::host::control::OVERFULL as u64),
        ("silence", milliseconds(crate::host::control::SILENCE)),
    ];
    assert_eq!(documented, BTreeSet::from(code));
}

/// A number with commas and a unit: bytes and milliseconds are the small ones.
fn number(cell: &str) -> u64 {
    let (digits, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let number: u64 = digits.replace(',', "").parse().expect(cell);
    number
        * match unit {
            "" | "B" | "ms" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "s" => 1000,
            unit => panic!("{unit}"),
        }
}
