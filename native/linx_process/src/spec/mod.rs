//! `docs/wire-protocol.md` and the code say the same: the vectors and tables of the document are
//! read here from the document itself.

mod tables;
mod vectors;

const DOCUMENT: &str = include_str!("../../../../docs/wire-protocol.md");

/// A term and bytes that stand for it, or bytes that stand for none and why.
pub struct Vector {
    pub text: String,
    pub bytes: Vec<u8>,
}

/// The vectors of one kind: the fenced blocks with the info string `vector KIND`.
pub fn vectors(kind: &str) -> Vec<Vector> {
    let opening = format!("```vector {kind}");
    let mut lines = DOCUMENT.lines();
    let mut found = Vec::new();
    while lines.any(|line| line == opening) {
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let first = block.iter().position(|line| hex(line).is_some());
        let (text, bytes) = block.split_at(first.unwrap_or(block.len()));
        let row = |line: &&str| hex(line).unwrap_or_else(|| panic!("{line:?} among hex digits"));
        found.push(Vector {
            text: text.join("\n"),
            bytes: bytes.iter().flat_map(row).collect(),
        });
    }
    assert!(!found.is_empty(), "no vector of the kind {kind}");
    found
}

/// The rows of the first table below a heading, without the one that names the columns.
pub fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| {
        let inner = line.strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split('|').map(str::trim).collect::<Vec<_>>())
    };
    let rows: Vec<_> = DOCUMENT
        .lines()
        .skip_while(|line| line.trim_start_matches('#') != format!(" {heading}"))
        .skip_while(|line| cells(line).is_none())
        .map_while(cells)
        .skip(2)
        .collect();
    assert!(!rows.is_empty(), "no table below {heading:?}");
    rows
}

/// What stands between backticks.
pub fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn hex(line: &str) -> Option<Vec<u8>> {
    let digits = |pair: &str| {
        let lower = pair.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (lower && pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?
    };
    line.split(' ').map(digits).collect()
}
