//! The search for secrets in a text and in everything that it decodes to.
//!
//! Each layer decodes the one below it, byte by byte and from any node, so no decoded text is stored. A node is a
//! position of the text, with the state of the layers, so that a match is a part of the text.

use std::ops::Range;

use super::escape::{self, Piece};

/// The maximum nesting of encodings.
const MAX_DEPTH: usize = 3;
/// The number of bytes in a row by which a decoder shows that its output is worth a search, unless a secret is shorter.
const PROBE_BYTES: usize = 32;
/// The maximum number of line ends or separators between two digits.
const MAX_GAP: usize = 2;
/// The part of a cut text in which an escape may be incomplete, in bytes.
pub(super) const CUT_MARGIN_BYTES: usize = 512;

/// The states of an escape: the bytes of a character in UTF-8.
const MAX_CHAR_BYTES: u32 = 4;
/// The states of Base64: the bytes of a group of four digits.
const PHASES: u32 = 3;

/// A place at which a layer can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    /// The position in the text.
    at: usize,
    state: u32,
}

impl Node {
    /// Splits off the state of a layer that has this many.
    fn split(self, states: u32) -> (Self, u32) {
        let below = Self {
            at: self.at,
            state: self.state / states,
        };
        (below, self.state % states)
    }

    fn join(self, states: u32, state: u32) -> Self {
        Self {
            at: self.at,
            state: self.state * states + state,
        }
    }
}

/// A byte of a layer.
#[derive(Clone, Copy, Debug)]
struct Step {
    byte: u8,
    next: Node,
    /// The end of what the byte was decoded from, in the text.
    end: usize,
}

impl Step {
    /// Converts the step of a layer below escapes.
    fn lift(self) -> Self {
        Self {
            next: self.next.join(MAX_CHAR_BYTES, 0),
            ..self
        }
    }
}

/// Returns the parts of the text that spell one of the secrets, which are folded and not empty, in no order.
///
/// `is_cut`: the text is the start of a longer one, so that a secret which goes on to the end counts as well.
pub(super) fn find(text: &str, is_cut: bool, secrets: &[impl AsRef<[u8]>]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let shortest = secrets.iter().map(|secret| secret.as_ref().len()).min();
    let Some(shortest) = shortest else {
        return found;
    };
    let is_first = |byte: u8| {
        let mut secrets = secrets.iter().map(AsRef::as_ref);
        secrets.any(|secret| secret[0] == byte)
    };
    let text = Layer::Text(text.as_bytes());
    text.visit(MAX_DEPTH, shortest.min(PROBE_BYTES), &mut |layer| {
        for start in layer.starts() {
            let mut starts = false;
            layer.steps(start, &mut |step| starts |= is_first(fold(step.byte)));
            for secret in secrets.iter().filter(|_| starts) {
                let end = layer.end(start, secret.as_ref(), is_cut);
                found.extend(end.map(|end| start.at..end));
            }
        }
    });
    found
}

/// Returns the byte as it is compared: regardless of case, and `+` as the space that it is in a form.
pub(super) fn fold(byte: u8) -> u8 {
    match byte {
        b'+' => b' ',
        _ => byte.to_ascii_lowercase(),
    }
}

/// A text, or a decoder of the layer below.
enum Layer<'a> {
    Text(&'a [u8]),
    Escapes(&'a Layer<'a>),
    Base64(&'a Layer<'a>),
    Hex(&'a Layer<'a>),
}

impl Layer<'_> {
    /// Visits this layer and all that decode it, unless they have nothing to decode.
    fn visit(&self, depth: usize, shortest: usize, see: &mut dyn FnMut(&Layer<'_>)) {
        see(self);
        if depth == 0 {
            return;
        }
        for above in [Layer::Escapes(self), Layer::Base64(self), Layer::Hex(self)] {
            if above.decodes(shortest) {
                above.visit(depth - 1, shortest, see);
            }
        }
    }

    /// Returns true if there is an escape, or if a decoder yields so many bytes in a row.
    fn decodes(&self, bytes: usize) -> bool {
        self.starts().any(|start| {
            if let Self::Escapes(below) = self {
                return !escapes(below, start.split(MAX_CHAR_BYTES).0).is_empty();
            }
            let mut node = start;
            (0..bytes).all(|_| {
                let step = self.step(node);
                step.inspect(|step| node = step.next).is_some()
            })
        })
    }

    /// Returns the nodes at which a secret may start.
    fn starts(&self) -> impl Iterator<Item = Node> + use<> {
        let states = self.starting_states();
        (0..self.text().len() * states.len()).map(move |nth| Node {
            at: nth / states.len(),
            state: states[nth % states.len()],
        })
    }

    fn starting_states(&self) -> Vec<u32> {
        let below = match self {
            Self::Text(_) => return vec![0],
            Self::Escapes(below) | Self::Base64(below) | Self::Hex(below) => {
                below.starting_states()
            }
        };
        let below = below.into_iter();
        match self {
            Self::Escapes(_) => below.map(|state| state * MAX_CHAR_BYTES).collect(),
            Self::Base64(_) => below
                .flat_map(|state| (0..PHASES).map(move |phase| state * PHASES + phase))
                .collect(),
            Self::Text(_) | Self::Hex(_) => below.collect(),
        }
    }

    fn is_base64(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Base64(_) => true,
            Self::Escapes(below) | Self::Hex(below) => below.is_base64(),
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Escapes(below) | Self::Base64(below) | Self::Hex(below) => below.text(),
        }
    }

    /// Returns the end of the secret that starts at this node, in the text.
    fn end(&self, start: Node, secret: &[u8], is_cut: bool) -> Option<usize> {
        let (mut nodes, mut end) = (vec![start], start.at);
        for byte in secret {
            let mut next = Vec::new();
            let before = std::mem::take(&mut end);
            for node in nodes {
                self.steps(node, &mut |step| {
                    if fold(step.byte) == *byte {
                        end = end.max(step.end);
                        if !next.contains(&step.next) {
                            next.push(step.next);
                        }
                    }
                });
            }
            if next.is_empty() {
                let length = self.text().len();
                return (is_cut && before + CUT_MARGIN_BYTES > length).then_some(length);
            }
            nodes = next;
        }
        let padding = self.text()[end..].iter().take_while(|byte| **byte == b'=');
        Some(end + if self.is_base64() { padding.count() } else { 0 })
    }

    /// Returns the byte at this node, decoded if there is an escape.
    fn step(&self, node: Node) -> Option<Step> {
        if let Self::Escapes(below) = self {
            let (under, nth) = node.split(MAX_CHAR_BYTES);
            let plain = below.step(under)?;
            if !escape::is_lead(plain.byte) {
                return Some(plain.lift());
            }
            let mut first = None;
            unescape(below, under, nth, true, &mut |step| {
                first.get_or_insert(step);
            });
            return Some(first.unwrap_or(plain.lift()));
        }
        let mut only = None;
        self.steps(node, &mut |step| only = Some(step));
        only
    }

    /// Visits each reading of the byte at this node: an escape may also be meant as it is.
    fn steps(&self, node: Node, see: &mut dyn FnMut(Step)) {
        match self {
            Self::Text(text) => {
                if let Some(byte) = text.get(node.at) {
                    #[cfg(test)]
                    READS.set(READS.get() + 1);
                    let end = node.at + 1;
                    let next = Node { at: end, state: 0 };
                    let byte = *byte;
                    see(Step { byte, next, end });
                }
            }
            Self::Escapes(below) => {
                let (node, nth) = node.split(MAX_CHAR_BYTES);
                unescape(below, node, nth, true, see);
                if nth == 0 {
                    below.steps(node, &mut |step| see(step.lift()));
                }
            }
            Self::Base64(below) => {
                if let Some(step) = base64(below, node) {
                    see(step);
                }
            }
            Self::Hex(below) => {
                if let Some(step) = hex(below, node) {
                    see(step);
                }
            }
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The number of bytes that were read from texts.
    pub(super) static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// An escape, the node after it, and its end in the text.
type Escape = (Piece, Node, usize);

/// Returns the readings of the escape at this node, if there is one.
fn escapes(below: &Layer<'_>, node: Node) -> Vec<Escape> {
    let first = below.step(node).filter(|step| escape::is_lead(step.byte));
    let (mut text, mut steps, mut step) = (Vec::new(), Vec::new(), first);
    while let Some(read) = step {
        text.push(read.byte);
        steps.push(read);
        let goes_on = escape::goes_on(&text);
        step = goes_on.then(|| below.step(read.next)).flatten();
    }
    let pieces = escape::read(&text);
    let escapes =
        pieces.map(|(piece, length)| (piece, steps[length - 1].next, steps[length - 1].end));
    escapes.collect()
}

/// Visits the byte `nth` of each reading of the escape at this node. One soft line end before it is skipped.
fn unescape(below: &Layer<'_>, node: Node, nth: u32, skip: bool, see: &mut dyn FnMut(Step)) {
    for (piece, after, end) in escapes(below, node) {
        let mut buffer = [0; MAX_CHAR_BYTES as usize];
        let bytes = match piece {
            Piece::Byte(byte) => {
                buffer[0] = byte;
                &buffer[..1]
            }
            Piece::Char(char) => char.encode_utf8(&mut buffer).as_bytes(),
            Piece::Nothing => {
                if skip {
                    unescape(below, after, nth, false, see);
                    below.steps(after, &mut |step| see(step.lift()));
                }
                continue;
            }
        };
        let mut rest = bytes.iter().skip(nth as usize);
        if let Some(&byte) = rest.next() {
            let next = match rest.next() {
                Some(_) => node.join(MAX_CHAR_BYTES, nth + 1),
                None => after.join(MAX_CHAR_BYTES, 0),
            };
            see(Step { byte, next, end });
        }
    }
}

/// Returns the next digit's value, its node and its step.
fn digit(
    below: &Layer<'_>,
    mut node: Node,
    value: fn(u8) -> Option<u8>,
    is_gap: fn(u8) -> bool,
) -> Option<(u8, Node, Step)> {
    for _ in 0..=MAX_GAP {
        let step = below.step(node)?;
        if let Some(value) = value(step.byte) {
            return Some((value, node, step));
        }
        if !is_gap(step.byte) {
            return None;
        }
        node = step.next;
    }
    None
}

/// Decodes one byte of Base64, which may have line ends (RFC 2045 section 6.8).
fn base64(below: &Layer<'_>, node: Node) -> Option<Step> {
    let is_gap = |byte| matches!(byte, b'\r' | b'\n');
    let (node, phase) = node.split(PHASES);
    let (high, _, first) = digit(below, node, sextet, is_gap)?;
    let (low, again, second) = digit(below, first.next, sextet, is_gap)?;
    let (byte, next) = match phase {
        0 => (high << 2 | low >> 4, again.join(PHASES, 1)),
        1 => (high << 4 | low >> 2, again.join(PHASES, 2)),
        _ => (high << 6 | low, second.next.join(PHASES, 0)),
    };
    Some(Step {
        byte,
        next,
        ..second
    })
}

/// Returns the value of a Base64 digit, of the alphabet with `+/` or the one with `-_` (RFC 4648 sections 4 and 5).
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Decodes one byte of hexadecimal, whose bytes may be separated.
fn hex(below: &Layer<'_>, node: Node) -> Option<Step> {
    let value = |byte| {
        let value = char::from(byte).to_digit(16)?;
        u8::try_from(value).ok()
    };
    let is_gap = |byte| matches!(byte, b'\r' | b'\n' | b' ' | b':' | b'-');
    let (high, _, first) = digit(below, node, value, is_gap)?;
    let (low, _, second) = digit(below, first.next, value, |_| false)?;
    let byte = high << 4 | low;
    Some(Step { byte, ..second })
}
