//! Whose frame it is: in the channel of a host a body is `{Id, Term}`.
//!
//! The address is taken off, and put on, without looking at the term behind it.

use super::frame;

const VERSION: u8 = 131;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const SMALL_BIG: u8 = 110;

/// The number the BEAM has given a session.
pub type Id = u32;

/// Splits the body of a frame into its address and a body as a session of its own would get it.
/// `None` for what is no pair that begins with such a number.
pub fn split(body: &[u8]) -> Option<(Id, Vec<u8>)> {
    let pair = body
        .strip_prefix(&[VERSION, SMALL_TUPLE, 2])
        .or_else(|| body.strip_prefix(&[VERSION, LARGE_TUPLE, 0, 0, 0, 2]))?;
    let (id, term) = integer(pair)?;
    Some((id, [&[VERSION], term].concat()))
}

fn integer(bytes: &[u8]) -> Option<(Id, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    match *tag {
        SMALL_INTEGER => rest
            .split_first()
            .map(|(byte, rest)| ((*byte).into(), rest)),
        INTEGER => {
            let (number, rest) = rest.split_first_chunk()?;
            Some((i32::from_be_bytes(*number).try_into().ok()?, rest))
        }
        SMALL_BIG => {
            let ([length, sign], rest) = rest.split_first_chunk()?;
            let (digits, rest) = rest.split_at_checked((*length).into())?;
            let value = digits.iter().rev().try_fold(0u32, |value, digit| {
                value.checked_mul(256)?.checked_add((*digit).into())
            })?;
            (*sign == 0).then_some((value, rest))
        }
        _ => None,
    }
}

/// Appends a frame with the term that `write` produces, to whom it may concern.
pub fn append(out: &mut Vec<u8>, id: Option<Id>, write: impl FnOnce(&mut Vec<u8>)) {
    frame::append(out, |body| {
        body.push(VERSION);
        if let Some(id) = id {
            body.extend_from_slice(&[SMALL_TUPLE, 2]);
            append_integer(body, id);
        }
        write(body);
    });
}

fn append_integer(body: &mut Vec<u8>, id: Id) {
    match (u8::try_from(id), i32::try_from(id)) {
        (Ok(byte), _) => body.extend_from_slice(&[SMALL_INTEGER, byte]),
        (_, Ok(number)) => {
            body.push(INTEGER);
            body.extend_from_slice(&number.to_be_bytes());
        }
        _ => {
            body.extend_from_slice(&[SMALL_BIG, 4, 0]);
            body.extend_from_slice(&id.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [Id; 7] = [0, 1, 255, 256, i32::MAX as u32, 1 << 31, u32::MAX];

    #[test]
    fn addresses_survive_the_way() {
        for id in IDS {
            let mut out = Vec::new();
            append(&mut out, Some(id), |body| {
                body.extend_from_slice(b"w\x07proceed")
            });
            let term = b"\x83w\x07proceed".to_vec();
            assert_eq!(split(&out[4..]), Some((id, term)));
        }
    }

    #[test]
    fn every_encoding_of_a_number_is_read() {
        let of = |address: &[u8]| split(&[address, b"j"].concat()).map(|(id, _)| id);
        assert_eq!(of(b"\x83h\x02a\x07"), Some(7));
        assert_eq!(of(b"\x83h\x02b\0\0\0\x07"), Some(7));
        assert_eq!(of(b"\x83h\x02n\x01\0\x07"), Some(7));
        assert_eq!(of(b"\x83h\x02n\x05\0\x07\0\0\0\0"), Some(7));
        assert_eq!(of(b"\x83i\0\0\0\x02a\x07"), Some(7));
    }

    #[test]
    fn what_is_no_address_is_none() {
        let bodies: [&[u8]; 10] = [
            b"",
            b"\x83",
            b"\x83h\x02",
            b"\x83h\x02a",
            b"\x83h\x03a\x07jj",
            b"\x83h\x02b\xff\xff\xff\xffj",
            b"\x83h\x02n\x01\x01\x07j",
            b"\x83h\x02n\x05\0\0\0\0\0\x01j",
            b"\x83h\x02w\x01aj",
            b"\x83w\x07proceed",
        ];
        for body in bodies {
            assert_eq!(split(body), None, "{body:?}");
        }
    }
}
