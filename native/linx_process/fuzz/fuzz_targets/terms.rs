//! Terms as the BEAM may write them, of every tag: none of them is refused, and those that mean
//! nothing here change nothing. Then the same with a few bytes changed.
#![no_main]

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use linx_process::wire::decode::{self, Inbound};

/// Deeper than a request goes, and less than is allowed.
const DEPTH: usize = 40;

fuzz_target!(|input: &[u8]| {
    let _ = run(&mut Unstructured::new(input));
});

fn run(u: &mut Unstructured) -> Result<()> {
    let mut term = Vec::new();
    write(u, &mut term, 0)?;

    // Alone, as a command: it is one or it is none, but it is a term.
    let alone = [&[131], &term[..]].concat();
    assert!(decode::command(&alone).is_ok());

    // As the command in a call.
    let call = [b"\x83h\x03w\x04callb\x7f\xff\xff\xff", &term[..]].concat();
    match decode::command(&call) {
        Ok(Inbound::Command(Some(0x7fff_ffff), _) | Inbound::Unknown(Some(0x7fff_ffff))) => {}
        other => panic!("{other:?}"),
    }

    // As what an option is set to that nobody knows, before and behind those that are known.
    let options = [
        &b"w\x04argvl\0\0\0\x01m\0\0\0\x09/bin/truej"[..],
        b"w\x03cwdk\0\x01/",
        b"w\x06orphanw\x04kill",
    ];
    let request = |options: &[&[u8]]| {
        let head = [
            b"\x83h\x02w\x05spawnt",
            &(options.len() as u32).to_be_bytes()[..],
        ];
        decode::request(&[&head.concat(), &options.concat()[..]].concat())
    };
    let unknown = [b"w\x06colour", &term[..]].concat();
    let expected = format!("{:?}", request(&options).expect("a request"));
    let [argv, cwd, orphan] = options;
    for options in [[&unknown, argv, cwd, orphan], [argv, cwd, orphan, &unknown]] {
        assert_eq!(
            format!("{:?}", request(&options).expect("a request")),
            expected
        );
    }

    // As what every option is set to that is known.
    for key in [
        "argv",
        "arg0",
        "env",
        "namespaces",
        "target",
        "stdio",
        "cwd",
        "no_new_privs",
        "orphan",
        "descendants",
        "causes",
        "auto_proceed",
        "origin",
    ] {
        let option = [&[119, key.len() as u8], key.as_bytes(), &term].concat();
        let _ = request(&[argv, &option]);
    }

    // And all of that, changed.
    for frame in [alone, call] {
        let mut frame = frame;
        for _ in 0..u.int_in_range(0..=8)? {
            let position = u.choose_index(frame.len())?;
            frame[position] = u.arbitrary()?;
        }
        let _ = decode::command(&frame);
        let _ = decode::request(&frame);
    }
    Ok(())
}

/// Appends one term.
fn write(u: &mut Unstructured, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    // Beyond a depth, and when the input is used up, only terms without others in them.
    let kinds = if depth < DEPTH && !u.is_empty() {
        25
    } else {
        11
    };
    match u.int_in_range(0..=kinds)? {
        0 => out.push(106),
        1 => fixed(u, out, 97, 1)?,
        2 => fixed(u, out, 98, 4)?,
        3 => atom(u, out)?,
        4 => long(u, out, 107, 2, 0)?,
        5 => long(u, out, 109, 4, 0)?,
        6 => big(u, out, 110)?,
        7 => big(u, out, 111)?,
        8 => fixed(u, out, 70, 8)?,
        9 => fixed(u, out, 99, 31)?,
        10 => long(u, out, 77, 4, 1)?,
        11 => {
            // NEW_FUN_EXT: skipped by the size it announces.
            let body = bytes(u)?;
            out.push(112);
            out.extend((body.len() as u32 + 4).to_be_bytes());
            out.extend(body);
        }
        12 | 13 => tuple(u, out, depth)?,
        14 => {
            out.push(105);
            several(u, out, 1, depth)?;
        }
        15 | 16 => {
            out.push(108);
            several(u, out, 1, depth)?;
            out.push(106);
        }
        17 => {
            // Improper, or not.
            out.push(108);
            several(u, out, 1, depth)?;
            write(u, out, depth + 1)?;
        }
        18 => {
            out.push(116);
            several(u, out, 2, depth)?;
        }
        19 => node(u, out, 103, 9)?,
        20 => node(u, out, 88, 12)?,
        21 => {
            let (tag, bytes) = *u.choose(&[(102, 5), (89, 8), (120, 12), (101, 5)])?;
            node(u, out, tag, bytes)?;
        }
        22 => reference(u, out, 114, 1)?,
        23 => reference(u, out, 90, 4)?,
        24 => {
            out.push(113);
            atom(u, out)?;
            atom(u, out)?;
            fixed(u, out, 97, 1)?;
        }
        _ => command(u, out, depth)?,
    }
    Ok(())
}

/// What has the head of a command.
fn command(u: &mut Unstructured, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    let name = *u.choose(&[
        "signal",
        "stop",
        "pty_in",
        "pty_winsize",
        "cap_drop_bounding",
        "cap_set_thread",
        "cap_set_ambient",
        "seccomp_install",
        "call",
        "connect_unix",
        "stdin",
        "spawn",
        "enter",
    ])?;
    let arguments = u.int_in_range(0..=4)?;
    out.extend([104, arguments + 1, 119, name.len() as u8]);
    out.extend(name.bytes());
    (0..arguments).try_for_each(|_| write(u, out, depth + 1))
}

fn tuple(u: &mut Unstructured, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    let arity = u.int_in_range(0..=5)?;
    out.extend([104, arity]);
    (0..arity).try_for_each(|_| write(u, out, depth + 1))
}

/// A count in four bytes, and as many times `each` terms.
fn several(u: &mut Unstructured, out: &mut Vec<u8>, each: u32, depth: usize) -> Result<()> {
    let count = u.int_in_range(0..=5)?;
    out.extend(u32::to_be_bytes(count));
    (0..count * each).try_for_each(|_| write(u, out, depth + 1))
}

fn fixed(u: &mut Unstructured, out: &mut Vec<u8>, tag: u8, length: usize) -> Result<()> {
    out.push(tag);
    for _ in 0..length {
        out.push(u.arbitrary()?);
    }
    Ok(())
}

fn bytes(u: &mut Unstructured) -> Result<Vec<u8>> {
    let length = u.int_in_range(0..=20)?;
    (0..length).map(|_| u.arbitrary()).collect()
}

/// A length in `header` bytes, `between` bytes, and the bytes.
fn long(
    u: &mut Unstructured,
    out: &mut Vec<u8>,
    tag: u8,
    header: usize,
    between: usize,
) -> Result<()> {
    let body = bytes(u)?;
    out.push(tag);
    out.extend(&(body.len() as u32).to_be_bytes()[4 - header..]);
    (0..between).try_for_each(|_| u.arbitrary().map(|byte| out.push(byte)))?;
    out.extend(body);
    Ok(())
}

fn big(u: &mut Unstructured, out: &mut Vec<u8>, tag: u8) -> Result<()> {
    let digits = bytes(u)?;
    out.push(tag);
    match tag {
        110 => out.push(digits.len() as u8),
        _ => out.extend((digits.len() as u32).to_be_bytes()),
    }
    out.push(u.int_in_range(0..=1)?);
    out.extend(digits);
    Ok(())
}

/// In all four encodings, and with names that mean something.
fn atom(u: &mut Unstructured, out: &mut Vec<u8>) -> Result<()> {
    let name = match u.int_in_range(0..=2)? {
        0 => u
            .choose(&[
                "proceed",
                "abort",
                "pty_master",
                "true",
                "kill",
                "pty",
                "devnull",
                "net",
                "process",
                "tree",
            ])?
            .to_string(),
        1 => u
            .arbitrary::<[u8; 3]>()?
            .map(|byte| char::from(byte & 0x7f))
            .iter()
            .collect(),
        _ => u.arbitrary::<char>()?.to_string(),
    };
    let latin1 = name
        .chars()
        .map(|c| u8::try_from(c).ok())
        .collect::<Option<Vec<_>>>();
    let length = |name: &[u8]| (name.len() as u16).to_be_bytes();
    match (u.int_in_range(0..=3)?, latin1) {
        (0, Some(name)) => out.extend([&[100], &length(&name)[..], &name].concat()),
        (1, Some(name)) => out.extend([&[115, name.len() as u8], &name[..]].concat()),
        (2, _) => out.extend([&[118], &length(name.as_bytes())[..], name.as_bytes()].concat()),
        _ => out.extend([&[119, name.len() as u8], name.as_bytes()].concat()),
    }
    Ok(())
}

fn node(u: &mut Unstructured, out: &mut Vec<u8>, tag: u8, length: usize) -> Result<()> {
    out.push(tag);
    atom(u, out)?;
    out.extend(vec![u.arbitrary::<u8>()?; length]);
    Ok(())
}

fn reference(u: &mut Unstructured, out: &mut Vec<u8>, tag: u8, creation: usize) -> Result<()> {
    let words: u8 = u.int_in_range(0..=5)?;
    out.extend([tag, 0, words]);
    atom(u, out)?;
    out.extend(vec![
        u.arbitrary::<u8>()?;
        creation + 4 * usize::from(words)
    ]);
    Ok(())
}
