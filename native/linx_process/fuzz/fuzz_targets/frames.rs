//! Any bytes from the BEAM, however they arrive: the first 8 bytes of an input say where they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_process::wire::decode::{Addressed, Inbound};
use linx_process::wire::frame::{Reader, TooBig, LIMIT};
use linx_process::wire::{address, decode, screen};

/// What tests/memory.rs promises.
const PER_BYTE: usize = 64;
const BESIDES: usize = 128 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, stream)) = input.split_first_chunk::<8>() else {
        return;
    };
    let whole = frames(std::iter::once(stream));
    assert_eq!(whole, frames(pieces(cuts, stream)));
    match whole.last() {
        Some(Err(TooBig)) => {}
        _ => assert!(
            whole
                .iter()
                .flatten()
                .map(|frame| frame.len() + 4)
                .sum::<usize>()
                <= stream.len()
        ),
    }
    for frame in whole.into_iter().flatten() {
        assert!(frame.len() <= LIMIT);
        decode(&frame, usize::from(cuts[0]));
        addressed(&frame);
    }
    // Most inputs are no frame at all.
    decode(stream, usize::from(cuts[0]));
    addressed(stream);
});

/// Pieces of the lengths in `cuts`, again and again; 0 stands for everything that is left.
fn pieces<'a>(cuts: &'a [u8], mut stream: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |cut| {
        let length = match usize::from(*cut) {
            0 => stream.len(),
            length => length.min(stream.len()),
        };
        let (piece, rest) = stream.split_at(length);
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// All frames, up to one that is too big.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Vec<u8>, TooBig>> {
    let mut reader = Reader::default();
    let mut frames = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(frame) = reader.next_frame() {
            frames.push(frame);
            if frames.last() == Some(&Err(TooBig)) {
                return frames;
            }
        }
    }
    frames
}

/// As a host reads it.
fn addressed(frame: &[u8]) {
    let mut read = None;
    let measured = allocation_counter::measure(|| read = address::split(frame));
    assert!(measured.bytes_max as usize <= frame.len());
    let Some((id, body)) = read else {
        // Behind any address there is a frame.
        let rest = frame.strip_prefix(&[131]).unwrap_or(frame);
        let mut whole = Vec::new();
        address::append(&mut whole, Some(7), |out| out.extend_from_slice(rest));
        assert!(matches!(address::split(&whole[4..]), Some((7, body)) if body[1..] == *rest));
        return;
    };
    let mut written = Vec::new();
    address::append(&mut written, Some(id), |out| {
        out.extend_from_slice(&body[1..])
    });
    assert_eq!(address::split(&written[4..]), Some((id, body.clone())));

    let peak = allocation_counter::measure(|| drop(decode::addressed(&body))).bytes_max as usize;
    assert!(peak <= PER_BYTE * body.len() + BESIDES, "{peak}");
    // It is what a session of its own would have made of it.
    match decode::addressed(&body) {
        Addressed::Request(request) => {
            assert_eq!(request, decode::request(&body).map(Box::new));
            assert!(decode::command(&body).is_ok());
        }
        Addressed::Command(command) => {
            assert_eq!(command, decode::command(&body));
            assert!(decode::request(&body).is_err());
        }
        Addressed::Hangup => assert_eq!(decode::command(&body), Ok(Inbound::Unknown(None))),
    }
}

fn decode(frame: &[u8], cut: usize) {
    let mut decoded = None;
    let measured = allocation_counter::measure(|| {
        drop(decode::request(frame));
        decoded = Some(decode::command(frame));
    });
    let peak = measured.bytes_max as usize;
    assert!(peak <= PER_BYTE * frame.len() + BESIDES, "{peak}");
    let screened = screen::screen(frame);
    // Nothing that has passed is refused by eetf, or by another look.
    assert_eq!(decoded.is_some_and(|d| d.is_ok()), screened.is_ok());
    if let Ok(screened) = screened {
        assert!(eetf::Term::decode(&screened[..]).is_ok());
        assert_eq!(screen::screen(&screened).as_ref(), Ok(&screened));
        // No part of a term is one.
        let part = &frame[..cut % frame.len()];
        assert!(screen::screen(part).is_err());
    }
}
