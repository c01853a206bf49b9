//! The `use` declarations and inline paths of one Rust file, without its test code.

use std::collections::BTreeSet;

use anyhow::anyhow;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module's path within its crate; the root's is empty.
pub(super) type Path = Vec<String>;

/// A path that a file names, relative to the module in which it stands.
#[derive(Clone, Debug)]
pub(super) struct PathReference {
    pub(super) module: Path,
    pub(super) segments: Path,
    pub(super) line: usize,
}

/// A name that a `use` declaration brings into a module.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) path: PathReference,
    /// `None` for a glob import.
    pub(super) name: Option<String>,
    pub(super) public: bool,
}

/// The contents of one file.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The modules with a file of their own that this file declares.
    pub(super) files: Vec<Path>,
    /// The modules whose text is in this file.
    pub(super) inline: Vec<Path>,
    pub(super) imports: Vec<Import>,
    pub(super) paths: Vec<PathReference>,
    /// Each identifier outside of `use` declarations.
    pub(super) identifiers: BTreeSet<String>,
}

/// The keywords that may start an item, for which a comma is no end.
const ITEMS: [&str; 15] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// Scans the text of the file of `module`.
pub(super) fn scan(text: &str, module: &[String]) -> anyhow::Result<Scan> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
    let mut scan = Scan::default();
    scan.stream(tokens, module);
    Ok(scan)
}

impl Scan {
    fn stream(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at, module);
        }
    }

    /// Reads the construct at this position, and returns the position after it.
    fn step(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let behind_path = at >= 2 && is_colons(&tokens[at - 2..]);
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => attribute(tokens, at),
            TokenTree::Ident(word) if *word == "use" => self.import(tokens, at, module),
            TokenTree::Ident(word) if *word == "mod" && at + 2 < tokens.len() => {
                self.module(tokens, at, module);
                at + 3
            }
            TokenTree::Ident(word) => {
                self.identifiers.insert(word.to_string());
                if behind_path || !is_colons(&tokens[at + 1..]) {
                    return at + 1;
                }
                let mut segments = vec![word.to_string()];
                let mut end = at + 1;
                while is_colons(&tokens[end..])
                    && let Some(TokenTree::Ident(word)) = tokens.get(end + 2)
                {
                    self.identifiers.insert(word.to_string());
                    segments.push(word.to_string());
                    end += 3;
                }
                self.paths.push(PathReference {
                    module: module.to_vec(),
                    segments,
                    line: line(&tokens[at]),
                });
                end
            }
            TokenTree::Group(group) => {
                self.stream(group.stream(), module);
                at + 1
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
        }
    }

    fn module(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) {
        let TokenTree::Ident(name) = &tokens[at + 1] else {
            return;
        };
        let path = [module, &[name.to_string()]].concat();
        match &tokens[at + 2] {
            TokenTree::Group(body) => {
                self.inline.push(path.clone());
                self.stream(body.stream(), &path);
            }
            _ => self.files.push(path),
        }
    }

    fn import(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let length = tokens[at..].iter().position(|token| is_punct(token, ';'));
        let end = at + length.unwrap_or(1);
        // `pub use` and `pub(crate) use`.
        let before = tokens[..at].iter().rev();
        let mut before = before.skip_while(|token| matches!(token, TokenTree::Group(_)));
        let public = before
            .next()
            .is_some_and(|token| matches!(token, TokenTree::Ident(word) if *word == "pub"));
        self.tree(&tokens[at + 1..end], &[], public, module);
        end + 1
    }

    /// Reads a tree of a `use` declaration.
    fn tree(&mut self, tokens: &[TokenTree], prefix: &[String], public: bool, module: &[String]) {
        for branch in tokens.split(|token| is_punct(token, ',')) {
            let mut segments = prefix.to_vec();
            let mut name = None;
            let mut group = None;
            let mut words = branch.iter();
            while let Some(token) = words.next() {
                match token {
                    TokenTree::Ident(word) if *word == "as" => {
                        name = words.next().map(ToString::to_string);
                    }
                    TokenTree::Ident(word) if *word == "self" && !segments.is_empty() => {}
                    TokenTree::Ident(word) => segments.push(word.to_string()),
                    TokenTree::Group(inner) if inner.delimiter() == Delimiter::Brace => {
                        group = Some(inner.stream());
                    }
                    TokenTree::Punct(_) | TokenTree::Group(_) | TokenTree::Literal(_) => {}
                }
            }
            if let Some(group) = group {
                let group: Vec<TokenTree> = group.into_iter().collect();
                self.tree(&group, &segments, public, module);
                continue;
            }
            let Some(first) = branch.first() else {
                continue;
            };
            let glob = branch.last().is_some_and(|token| is_punct(token, '*'));
            let name = name.or_else(|| segments.last().cloned()).filter(|_| !glob);
            let path = PathReference {
                module: module.to_vec(),
                segments,
                line: line(first),
            };
            self.imports.push(Import { path, name, public });
        }
    }
}

/// Returns the position after an attribute, and after the item of a test-only attribute.
fn attribute(tokens: &[TokenTree], at: usize) -> usize {
    let Some(TokenTree::Group(group)) = tokens.get(at + 1) else {
        return at + 1;
    };
    if !is_test_only(&group.stream().to_string()) {
        return at + 2;
    }
    let mut end = at + 2;
    while tokens.get(end).is_some_and(|token| is_punct(token, '#')) {
        end += 2;
    }
    let mut words = tokens[end..].iter().filter_map(|token| match token {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    });
    let item = words.find(|word| word != "pub");
    let item = item.is_some_and(|word| ITEMS.contains(&word.as_str()));
    let is_use = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if *word == "use");
    let braces_end = !tokens[end..].iter().take(3).any(is_use);
    for token in &tokens[end..] {
        end += 1;
        let brace =
            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_punct(token, ';') || brace && braces_end || !item && is_punct(token, ',') {
            break;
        }
    }
    end
}

fn is_test_only(attribute: &str) -> bool {
    let compact: String = attribute.split_whitespace().collect();
    compact == "cfg(test)" || compact == "test" || compact.starts_with("cfg(all(test,")
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    tokens.len() >= 2 && tokens[..2].iter().all(|token| is_punct(token, ':'))
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
