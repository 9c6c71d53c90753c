//! The shapes of terms. The BEAM writes the same in several ways.

use super::screen::Malformed;
use eetf::{Term, Tuple};
use std::ffi::CString;

pub type Decoded<T> = Result<T, Malformed>;

pub fn boolean(term: &Term) -> Decoded<bool> {
    match atom(term) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(Malformed),
    }
}

pub fn argv(value: Term) -> Decoded<Vec<CString>> {
    Some(strings(value)?)
        .filter(|argv| !argv.is_empty())
        .ok_or(Malformed)
}

pub fn strings(value: Term) -> Decoded<Vec<CString>> {
    list(value)?.into_iter().map(string).collect()
}

/// A binary, or a list of bytes in either of its encodings. Without a NUL, which no
/// argument, variable or path can carry.
pub fn string(value: Term) -> Decoded<CString> {
    let bytes = match value {
        Term::Binary(binary) => binary.bytes,
        Term::ByteList(list) => list.bytes,
        Term::List(list) => {
            let byte = |term| integer(term).and_then(|i| u8::try_from(i).ok());
            let bytes: Option<_> = list.elements.iter().map(byte).collect();
            bytes.ok_or(Malformed)?
        }
        _ => return Err(Malformed),
    };
    CString::new(bytes).map_err(|_| Malformed)
}

pub fn list(value: Term) -> Decoded<Vec<Term>> {
    match value {
        Term::List(list) => Ok(list.elements),
        _ => Err(Malformed),
    }
}

pub fn tuple<const N: usize>(value: Term) -> Decoded<[Term; N]> {
    match value {
        Term::Tuple(Tuple { elements }) => elements.try_into().map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

pub fn elements(term: &Term) -> Option<&[Term]> {
    match term {
        Term::Tuple(tuple) => Some(&tuple.elements),
        _ => None,
    }
}

pub fn atom(term: &Term) -> Option<&str> {
    match term {
        Term::Atom(atom) => Some(&atom.name),
        _ => None,
    }
}

pub fn integer(term: &Term) -> Option<i32> {
    match term {
        Term::FixInteger(integer) => Some(integer.value),
        Term::BigInteger(integer) => i32::try_from(&integer.value).ok(),
        _ => None,
    }
}

pub fn unsigned(term: &Term) -> Option<u64> {
    match term {
        Term::FixInteger(integer) => u64::try_from(integer.value).ok(),
        Term::BigInteger(integer) => u64::try_from(&integer.value).ok(),
        _ => None,
    }
}
