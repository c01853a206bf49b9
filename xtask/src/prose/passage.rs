//! The passages of a Rust file that people read: comments, string literals and names of functions.

use std::str::FromStr as _;

use anyhow::anyhow;
use proc_macro2::{TokenStream, TokenTree};

/// A text with the lines that it comes from, in lower case: a phrase is found across line breaks.
#[derive(Default)]
pub(super) struct Passage {
    text: String,
    /// The offset in the text at which each line starts, and the line's number from 0.
    starts: Vec<(usize, usize)>,
}

impl Passage {
    /// Creates a passage of one line.
    pub(super) fn line(number: usize, text: &str) -> Self {
        let mut passage = Self::default();
        passage.push(number, text);
        passage
    }

    /// Adds a line, joined by one space.
    fn push(&mut self, number: usize, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.starts.push((self.text.len(), number));
        self.text.push_str(&text.trim().to_lowercase());
    }

    /// Returns the text, in lower case.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the numbers of the lines on which the phrase starts, as whole words.
    pub(super) fn lines_with(&self, phrase: &str) -> impl Iterator<Item = usize> {
        let edge =
            |char: Option<char>| char.is_none_or(|char| !char.is_alphanumeric() && char != '_');
        let matches = self.text.match_indices(phrase).filter(move |(at, _)| {
            edge(self.text[..*at].chars().next_back())
                && edge(self.text[at + phrase.len()..].chars().next())
        });
        matches.map(|(at, _)| self.line_at(at))
    }

    /// Returns the number of the line that this offset is on.
    fn line_at(&self, offset: usize) -> usize {
        let after = self.starts.partition_point(|(start, _)| *start <= offset);
        self.starts[after.saturating_sub(1)].1
    }
}

/// Returns the comments of a file. Comments on consecutive lines are one passage, one behind code is its own.
pub(super) fn comments(text: &str) -> Vec<Passage> {
    let mut passages: Vec<Passage> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let Some(comment) = comment(line) else {
            open = false;
            continue;
        };
        let alone = line.trim_start().starts_with("//");
        match passages.last_mut().filter(|_| open && alone) {
            Some(passage) => passage.push(number, comment),
            None => passages.push(Passage::line(number, comment)),
        }
        open = alone;
    }
    passages
}

/// Returns the string literals of a file, without placeholders and escaped line breaks.
pub(super) fn literals(text: &str) -> anyhow::Result<Vec<Passage>> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let mut passages = Vec::new();
    add_literals(tokens, &mut passages);
    Ok(passages)
}

fn add_literals(tokens: TokenStream, passages: &mut Vec<Passage>) {
    for token in tokens {
        match token {
            // A doc comment, which is a comment here.
            TokenTree::Group(group) if group.to_string().starts_with("[doc =") => {}
            TokenTree::Group(group) => add_literals(group.stream(), passages),
            TokenTree::Literal(literal) => {
                let first = literal.span().start().line - 1;
                passages.extend(literal_passage(&literal.to_string(), first));
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// Returns the text of a string literal that starts on this line; `None` for another literal.
fn literal_passage(literal: &str, first: usize) -> Option<Passage> {
    let (_, text) = literal.split_once('"')?;
    let (text, _) = text.rsplit_once('"')?;
    let mut outside = true;
    let mut passage = Passage::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.strip_suffix('\\').unwrap_or(line);
        let mut shown = String::new();
        for (at, part) in line.split(['{', '}']).enumerate() {
            outside ^= at > 0;
            shown += if outside { part } else { "" };
        }
        passage.push(first + number, &shown.replace("\\n", " "));
    }
    Some(passage)
}

/// Returns the text of a line's comment; a comment behind code counts too.
fn comment(line: &str) -> Option<&str> {
    let at = line.find("//")?;
    let behind_a_scheme = line[..at].ends_with(':');
    let text = line[at..].trim_start_matches(['/', '!']);
    Some(text).filter(|_| !behind_a_scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(passages: &[Passage], phrase: &str) -> Vec<usize> {
        let lines = passages.iter().map(|passage| passage.lines_with(phrase));
        lines.flatten().collect()
    }

    #[test]
    fn a_literal_is_followed_over_its_lines() {
        let code = [
            "let a = \"one",
            "    two\";",
            "let b = f(\"a {x} b\", \"one \\",
            "    two {",
            "    one two }\", '\"');",
            "let c = br#\"\"one\" TWO; one",
            "two\"#;",
            "let d = \"x\\none two\"; let one = two;",
        ];
        let literals = literals(&code.join("\n")).unwrap();
        assert_eq!(literals.len(), 5);
        assert_eq!(found(&literals, "one two"), [0, 2, 5, 7]);
        assert_eq!(literals[1].text(), "a  b");
    }

    #[test]
    fn comments_on_consecutive_lines_are_one_passage() {
        let code =
            "let a = 1; // one\n// two\n/// one\n/// two one\nfn a() {}\n// two http://one\n";
        let comments = comments(code);
        assert_eq!(comments.len(), 3);
        assert_eq!(found(&comments, "two one"), [1, 3]);
        assert_eq!(found(&comments, "one two"), [2]);
        assert_eq!(found(&comments, "one"), [0, 2, 3, 5]);
    }
}
