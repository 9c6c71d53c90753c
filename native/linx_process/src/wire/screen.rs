//! A look at a frame before `eetf` sees it.
//!
//! `eetf` trusts its input: a list header of 2³² elements allocates for them,
//! distribution and cache tags panic, nesting recurses without limit and
//! compressed terms inflate without limit. Screening walks the term without
//! allocating for what it only announces, refuses what is malformed, and
//! passes on a copy in which every term that means nothing to this protocol
//! (floats, pids, references, funs, …) is a float. Such terms are legal as the
//! value of a request key that is not known, which is skipped.
//!
//! So is a map that is not a request's. `eetf` makes hash tables of maps, far larger than the frame,
//! and hashes a map without its size: maps as keys can be chosen so that all of them collide.

/// Deeper nesting is refused. Requests are four levels deep.
pub(crate) const MAX_DEPTH: usize = 64;

/// More elements than this in one frame are refused: eetf's terms take some
/// 60 bytes each, whatever their size on the wire.
pub(crate) const MAX_ELEMENTS: usize = 400_000;

/// More keys than this in a request are refused. There are a dozen.
pub(crate) const MAX_OPTIONS: usize = 256;

const VERSION: u8 = 131;

/// Stands for a term we have no use for.
const OPAQUE: [u8; 9] = [70, 0, 0, 0, 0, 0, 0, 0, 0];
/// Stands for an atom we have no use for: the empty one, as UTF-8.
const OPAQUE_ATOM: [u8; 2] = [119, 0];

/// The frame is not one term in the external term format, or beyond the bounds above.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

type Screened<T = ()> = Result<T, Malformed>;

/// Checks `frame` and returns what may be handed to eetf.
pub fn screen(frame: &[u8]) -> Screened<Vec<u8>> {
    let mut screen = Screen {
        input: frame,
        position: 0,
        elements: 0,
        options: false,
        output: Vec::with_capacity(frame.len()),
    };
    if screen.byte()? != VERSION {
        return Err(Malformed);
    }
    screen.output.push(VERSION);
    screen.term(0)?;
    if screen.position == frame.len() {
        Ok(screen.output)
    } else {
        Err(Malformed)
    }
}

struct Screen<'a> {
    input: &'a [u8],
    position: usize,
    elements: usize,
    /// Whether the map of a request has been seen.
    options: bool,
    output: Vec<u8>,
}

impl<'a> Screen<'a> {
    /// One term, copied or replaced.
    fn term(&mut self, depth: usize) -> Screened {
        let start = self.position;
        self.elements += 1;
        if depth > MAX_DEPTH || self.elements > MAX_ELEMENTS {
            return Err(Malformed);
        }
        match self.byte()? {
            // SMALL_INTEGER_EXT, INTEGER_EXT, NIL_EXT
            97 => self.keep(start, 1),
            98 => self.keep(start, 4),
            106 => self.keep(start, 0),
            // ATOM_EXT, SMALL_ATOM_EXT (Latin-1); ATOM_UTF8_EXT, SMALL_ATOM_UTF8_EXT
            100 | 118 => {
                let length = self.length16()?;
                self.atom(start, length)
            }
            115 | 119 => {
                let length = self.byte()?.into();
                self.atom(start, length)
            }
            // STRING_EXT, BINARY_EXT
            107 => {
                let length = self.length16()?;
                self.keep(start, length)
            }
            109 => {
                let length = self.length32()?;
                self.keep(start, length)
            }
            // SMALL_BIG_EXT: a sign byte of 0 or 1, then the digits
            110 => {
                let length = usize::from(self.byte()?);
                match self.input.get(self.position) {
                    Some(0 | 1) => self.keep(start, 1 + length),
                    _ => Err(Malformed),
                }
            }
            // SMALL_TUPLE_EXT, LARGE_TUPLE_EXT
            104 => {
                let arity = self.byte()?.into();
                self.elements(start, arity, depth)
            }
            105 => {
                let arity = self.length32()?;
                self.elements(start, arity, depth)
            }
            // LIST_EXT: the elements, then the tail
            108 => {
                let length = self.length32()?;
                self.elements(start, length.saturating_add(1), depth)
            }
            // MAP_EXT, where a request has its options: keys and values
            116 if depth == 1 && !self.options => {
                self.options = true;
                let pairs = self.length32()?;
                if pairs > MAX_OPTIONS {
                    return Err(Malformed);
                }
                self.elements(start, 2 * pairs, depth)
            }
            tag => {
                let kept = self.output.len();
                self.skip(tag, depth)?;
                self.output.truncate(kept);
                self.output.extend_from_slice(&OPAQUE);
                Ok(())
            }
        }
    }

    /// A term that means nothing to us: find its end.
    fn skip(&mut self, tag: u8, depth: usize) -> Screened {
        match tag {
            // NEW_FLOAT_EXT, FLOAT_EXT
            70 => self.advance(8),
            99 => self.advance(31),
            // BIT_BINARY_EXT
            77 => {
                let length = self.length32()?;
                self.advance(length.saturating_add(1))
            }
            // LARGE_BIG_EXT: a sign, then the digits
            111 => {
                let length = self.length32()?;
                self.advance(length.saturating_add(1))
            }
            // PID_EXT, NEW_PID_EXT
            103 => self.node_and(9, depth),
            88 => self.node_and(12, depth),
            // PORT_EXT, NEW_PORT_EXT, V4_PORT_EXT
            102 => self.node_and(5, depth),
            89 => self.node_and(8, depth),
            120 => self.node_and(12, depth),
            // REFERENCE_EXT, NEW_REFERENCE_EXT, NEWER_REFERENCE_EXT
            101 => self.node_and(5, depth),
            114 => {
                let words = self.length16()?;
                self.node_and(1 + 4 * words, depth)
            }
            90 => {
                let words = self.length16()?;
                self.node_and(4 + 4 * words, depth)
            }
            // EXPORT_EXT: module, function, arity
            113 => self.terms(3, depth + 1),
            // MAP_EXT: keys and values
            116 => {
                let pairs = self.length32()?;
                self.terms(pairs.saturating_mul(2), depth + 1)
            }
            // NEW_FUN_EXT: its size counts the four bytes that hold it
            112 => {
                let size = self.length32()?;
                self.advance(size.checked_sub(4).ok_or(Malformed)?)
            }
            // Everything else (compressed and distribution terms, atom cache
            // references, local encodings, …) is not for a port.
            _ => Err(Malformed),
        }
    }

    fn node_and(&mut self, bytes: usize, depth: usize) -> Screened {
        self.term(depth + 1)?;
        self.advance(bytes)
    }

    fn elements(&mut self, start: usize, count: usize, depth: usize) -> Screened {
        // No element takes less than a byte.
        if count > self.input.len() - self.position {
            return Err(Malformed);
        }
        self.keep(start, 0)?;
        self.terms(count, depth + 1)
    }

    fn terms(&mut self, count: usize, depth: usize) -> Screened {
        (0..count).try_for_each(|_| self.term(depth))
    }

    /// Our atoms are ASCII, which all four encodings write alike; eetf refuses others in Latin-1.
    fn atom(&mut self, start: usize, length: usize) -> Screened {
        let name = self.input.get(self.position..self.position + length);
        if name.ok_or(Malformed)?.is_ascii() {
            self.keep(start, length)
        } else {
            self.advance(length)?;
            self.output.extend_from_slice(&OPAQUE_ATOM);
            Ok(())
        }
    }

    /// Copies everything from `start` to `length` bytes ahead.
    fn keep(&mut self, start: usize, length: usize) -> Screened {
        self.advance(length)?;
        self.output
            .extend_from_slice(&self.input[start..self.position]);
        Ok(())
    }

    fn advance(&mut self, length: usize) -> Screened {
        if length > self.input.len() - self.position {
            return Err(Malformed);
        }
        self.position += length;
        Ok(())
    }

    fn byte(&mut self) -> Screened<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn length16(&mut self) -> Screened<usize> {
        self.array().map(|b| u16::from_be_bytes(b).into())
    }

    fn length32(&mut self) -> Screened<usize> {
        self.array().map(|b| u32::from_be_bytes(b) as usize)
    }

    fn array<const N: usize>(&mut self) -> Screened<[u8; N]> {
        let bytes = self.input[self.position..].first_chunk::<N>();
        let bytes = *bytes.ok_or(Malformed)?;
        self.position += N;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_promise_more_than_the_frame_holds_are_refused() {
        for tag in [105, 108, 109, 111, 116, 77, 112] {
            assert_eq!(screen(&[131, tag, 255, 255, 255, 255]), Err(Malformed));
        }
        for tag in [100, 107, 118, 114, 90] {
            assert_eq!(screen(&[131, tag, 255, 255]), Err(Malformed));
        }
    }

    #[test]
    fn compressed_and_distribution_terms_are_refused() {
        for tag in [80, 68, 82, 69, 121] {
            assert_eq!(screen(&[131, tag, 0, 0, 0, 0, 0]), Err(Malformed));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels| [vec![131], [104, 1].repeat(levels), vec![106]].concat();
        assert!(screen(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(screen(&nested(MAX_DEPTH + 1)), Err(Malformed));
        assert_eq!(screen(&nested(100_000)), Err(Malformed));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn elements_are_bounded() {
        // The list and its tail are two of them.
        let list = |length: usize| {
            let header = (length as u32).to_be_bytes();
            [&[131, 108][..], &header, &[97, 0].repeat(length), &[106]].concat()
        };
        assert!(screen(&list(MAX_ELEMENTS - 2)).is_ok());
        assert_eq!(screen(&list(MAX_ELEMENTS - 1)), Err(Malformed));
    }

    #[test]
    fn bytes_behind_the_term_are_refused() {
        assert_eq!(screen(&[131, 97, 1, 0]), Err(Malformed));
    }

    #[test]
    fn what_has_no_meaning_here_becomes_a_float() {
        // {Float, Atom "é" in Latin-1, <<1:3>>, fun of 5 bytes}
        let mut frame = vec![131, 104, 4, 70, 1, 2, 3, 4, 5, 6, 7, 8];
        frame.extend([115, 1, 0xe9]);
        frame.extend([77, 0, 0, 0, 1, 200, 32]);
        frame.extend([112, 0, 0, 0, 5, 9]);
        let mut expected = vec![131, 104, 4];
        expected.extend(OPAQUE);
        expected.extend(OPAQUE_ATOM);
        expected.extend(OPAQUE);
        expected.extend(OPAQUE);
        assert_eq!(screen(&frame), Ok(expected));
    }

    /// `#{Key => []}` for each of the keys.
    fn map(keys: &[Vec<u8>]) -> Vec<u8> {
        let mut map = vec![116];
        map.extend((keys.len() as u32).to_be_bytes());
        for key in keys {
            map.extend(key);
            map.push(106);
        }
        map
    }

    fn pair(first: &[u8], second: &[u8]) -> Vec<u8> {
        [&[131, 104, 2], first, second].concat()
    }

    #[test]
    fn only_the_options_of_a_request_are_a_map() {
        let inner = map(&[vec![97, 1]]);
        let options = map(&[vec![97, 2], inner.clone()]);
        let kept = map(&[vec![97, 2], OPAQUE.to_vec()]);
        assert_eq!(
            screen(&pair(&options, &inner)),
            Ok(pair(&kept, &OPAQUE)),
            "a second one, and one below it"
        );
        let alone = [&[VERSION], &inner[..]].concat();
        assert_eq!(screen(&alone), Ok([&[VERSION], &OPAQUE[..]].concat()));
    }

    #[test]
    fn options_are_bounded() {
        let options = |count| map(&vec![vec![106]; count]);
        assert!(screen(&pair(&[106], &options(MAX_OPTIONS))).is_ok());
        let one_more = options(MAX_OPTIONS + 1);
        assert_eq!(screen(&pair(&[106], &one_more)), Err(Malformed));
    }

    #[test]
    fn no_prefix_of_a_good_frame_is_good() {
        let mut frame = vec![131, 104, 1, 116, 0, 0, 0, 1, 119, 1, b'k', 108, 0, 0, 0, 1];
        frame.extend([
            90, 0, 2, 119, 1, b'n', 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 106,
        ]);
        assert!(screen(&frame).is_ok());
        for length in 0..frame.len() {
            assert_eq!(screen(&frame[..length]), Err(Malformed), "{length}");
        }
    }
}
