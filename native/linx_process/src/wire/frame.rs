//! `{:packet, 4}`: a body behind its length in four bytes, big-endian.

/// The longest body taken from the BEAM. The kernel gives a program at most
/// 6 MiB of arguments and environment (three quarters of `_STK_LIM`,
/// fs/exec.c), so that what it could take always fits, and what does not fit
/// here could not have been executed.
pub const LIMIT: usize = 8 << 20;

const HEADER: usize = 4;

/// A frame was announced that is longer than [`LIMIT`]. Its bytes cannot be
/// told from the next frame's, so nothing more can be read.
#[derive(Debug, PartialEq, Eq)]
pub struct TooBig;

/// Puts frames together from whatever pieces arrive.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What a large frame has taken beyond this is given back once it has been read.
const KEPT: usize = 256 << 10;

impl Reader {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// Where the next piece goes, `least` bytes of it or more; [`Reader::filled`] tells how many came.
    pub fn room(&mut self, least: usize) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == 0 && self.buffer.len() > KEPT {
            self.buffer.truncate(KEPT);
            self.buffer.shrink_to_fit();
        }
        if self.buffer.len() < self.end + least {
            self.buffer.resize(self.end + least, 0);
        }
        &mut self.buffer[self.end..]
    }

    pub fn filled(&mut self, length: usize) {
        self.end += length;
    }

    /// The next whole frame's body.
    pub fn next_frame(&mut self) -> Option<Result<Vec<u8>, TooBig>> {
        let pending = &self.buffer[self.start..self.end];
        let length = u32::from_be_bytes(*pending.first_chunk::<HEADER>()?) as usize;
        if length > LIMIT {
            return Some(Err(TooBig));
        }
        let body = pending.get(HEADER..HEADER + length)?.to_vec();
        self.start += HEADER + length;
        Some(Ok(body))
    }
}

/// Appends a frame whose body `write` produces.
pub fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    write(out);
    let length = (out.len() - start - HEADER) as u32;
    out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

/// Announces more bytes behind the frame in `frame`.
pub fn lengthen(frame: &mut [u8], more: usize) {
    let length = (frame.len() - HEADER + more) as u32;
    frame[..HEADER].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            append(&mut bytes, |out| out.extend_from_slice(body));
        }
        bytes
    }

    fn frames(reader: &mut Reader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.next_frame().map(|f| f.unwrap())).collect()
    }

    #[test]
    fn any_split_of_the_stream_gives_the_same_frames() {
        let bytes = stream();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut reader = Reader::default();
                let mut seen = Vec::new();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    reader.feed(piece);
                    seen.extend(frames(&mut reader));
                }
                assert_eq!(seen, [&b"one"[..], b"", b"three"]);
            }
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing_until_the_bytes_are_there() {
        let mut reader = Reader::default();
        reader.feed(&(LIMIT as u32).to_be_bytes());
        assert_eq!(reader.next_frame(), None);
        assert!(reader.buffer.capacity() < 1024);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_as_soon_as_it_is_announced() {
        let mut reader = Reader::default();
        reader.feed(&(LIMIT as u32 + 1).to_be_bytes());
        assert_eq!(reader.next_frame(), Some(Err(TooBig)));
    }
}
