//! How much memory a frame can make the agent take, when somebody tries.

use linx_process::wire::{address, decode, frame};

/// eetf's terms have 56 bytes, and a term has at least one on the wire; then there are the frame's copies.
const PER_BYTE: usize = 64;
/// The table of a request's options.
const BESIDES: usize = 128 << 10;

/// The same in the channel of a host.
fn addressed(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let term = |out: &mut Vec<u8>| out.extend_from_slice(&frame[1..]);
    address::append(&mut out, Some(1 << 31), term);
    out.split_off(4)
}

fn peak(frame: &[u8]) -> usize {
    let addressed = addressed(frame);
    let hosted = || address::split(&addressed).map(|(_, frame)| decode::addressed(&frame));
    [
        allocation_counter::measure(|| drop(decode::request(frame))),
        allocation_counter::measure(|| drop(decode::command(frame))),
        allocation_counter::measure(|| assert!(hosted().is_some())),
    ]
    .map(|measured| measured.bytes_max as usize)
    .into_iter()
    .fold(0, usize::max)
}

fn headed(tag: u8, count: usize, body: Vec<u8>) -> Vec<u8> {
    let count = u32::try_from(count).unwrap().to_be_bytes();
    [&[tag][..], &count, &body].concat()
}

fn list(elements: &[u8], count: usize) -> Vec<u8> {
    let mut body = elements.repeat(count);
    body.push(106);
    headed(108, count, body)
}

fn map(pairs: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let pairs: Vec<_> = pairs.collect();
    headed(116, pairs.len(), pairs.concat())
}

/// `{spawn, Options}`
fn request(options: &[u8]) -> Vec<u8> {
    [b"\x83h\x02w\x05spawn", options].concat()
}

#[test]
fn memory_is_bounded_by_the_length_of_a_frame() {
    let alone = |term: &[u8]| [&[131], term].concat();
    let one_pair = b"t\0\0\0\x01jj";
    let nested_maps = (0..60).fold(vec![106], |inner, _| [b"t\0\0\0\x01j", &inner[..]].concat());
    let many = 390_000;
    let frames = [
        ("a list of []", alone(&list(b"j", many))),
        ("a list of {[]}", alone(&list(b"h\x01j", many / 2))),
        (
            "a list of integers of one digit",
            alone(&list(b"n\x01\0\x07", many)),
        ),
        (
            "a list of improper lists",
            alone(&list(b"l\0\0\0\0a\x01", many / 2)),
        ),
        ("a list of binaries", alone(&list(b"m\0\0\0\x01\x07", many))),
        ("a list of atoms", alone(&list(b"w\x01a", many))),
        ("a list of maps", alone(&list(one_pair, many / 3))),
        (
            "a list of nested maps",
            alone(&list(&nested_maps, many / 122)),
        ),
        (
            "a tuple of maps",
            alone(&headed(105, many / 3, one_pair.repeat(many / 3))),
        ),
        (
            "all the options there may be",
            request(&map((0..=255).map(|key| vec![97, key, 106]))),
        ),
        (
            "arguments of one byte",
            request(&map(std::iter::once(
                [b"w\x04argv", &list(b"m\0\0\0\x01a", many)[..]].concat(),
            ))),
        ),
        (
            "one argument, as a list",
            request(&map(std::iter::once(
                [b"w\x04argvl\0\0\0\x01", &list(b"a\x01", many)[..], b"j"].concat(),
            ))),
        ),
        (
            "as much as a frame holds for the terminal",
            [
                b"\x83h\x02w\x06pty_in",
                &headed(109, frame::LIMIT - 16, vec![7; frame::LIMIT - 16])[..],
            ]
            .concat(),
        ),
    ];
    for (what, frame) in frames {
        let (length, peak) = (frame.len(), peak(&frame));
        assert!(length <= frame::LIMIT, "{what}: {length}");
        assert!(
            peak <= PER_BYTE * length + BESIDES,
            "{what}: {length} bytes took {peak}, {} times as many",
            peak / length
        );
        println!("{what}: {length} bytes took {peak}");
    }
}
