//! Standard output and standard error: written completely, and never with a panic if the reader has closed them.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use serde_json::Value;

use crate::failure::Failure;

/// Writes text to standard output.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Writes bytes to standard output.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    write_part(bytes).map(|_| ())
}

/// Writes these bytes, and returns false if the reader has closed the pipe. `hallpass cache list | head` is not an
/// error, and the run ends as it would have otherwise.
pub(crate) fn write_part(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    is_reader_open(written)
}

/// Returns false if the error says that the reader has closed the pipe.
pub(crate) fn is_reader_open(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes a line to standard error.
pub(crate) fn note(line: &str) {
    // If standard error is closed, there is nowhere left to report to.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes this value as indented JSON.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    text(&escaped(&format!("{value:#}\n")))
}

/// Escapes characters that a terminal may interpret or hide. JSON leaves them as they are beyond ASCII; only strings
/// can contain them.
fn escaped(json: &str) -> String {
    let is_active = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_active(c) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_escaped() {
        let value = Value::from("a\u{9b}31m \u{7f} \u{202e} \u{2066} \u{1b} é \u{65e5}\"");
        let text = escaped(&value.to_string());
        assert!(
            !text.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{text}"
        );
        assert!(text.contains("\\u009b31m") && text.contains('é'), "{text}");
        // The value is unchanged.
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
