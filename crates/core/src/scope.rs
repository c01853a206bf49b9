use std::{fmt, str::FromStr, sync::Arc};

/// One scope token of RFC 6749 section 3.3: case-sensitive, printable ASCII without space, `"` and `\`.
///
/// ```
/// use hallpass_core::Scope;
///
/// let scope: Scope = "orders.read".parse()?;
/// assert_eq!(scope.as_str(), "orders.read");
/// assert!("orders read".parse::<Scope>().is_err());
/// # Ok::<(), hallpass_core::InvalidScope>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

impl Scope {
    /// Returns the scope as sent to the server.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        check(text, 0)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes in canonical form: sorted, without duplicates, cheap to clone.
///
/// ```
/// use hallpass_core::ScopeSet;
///
/// let scopes: ScopeSet = "orders.write orders.read".parse()?;
/// assert_eq!(scopes, "orders.read orders.write orders.read".parse()?);
/// assert_eq!(scopes.as_str(), "orders.read orders.write");
/// assert!(scopes.contains("orders.read"));
/// # Ok::<(), hallpass_core::InvalidScope>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeSet(Option<Arc<str>>);

impl ScopeSet {
    /// The empty set.
    pub const EMPTY: Self = Self(None);

    /// Returns the scopes in canonical order, separated by one space: the `scope` parameter. Empty for the empty set.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns the scopes, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.as_str().split_terminator(' ')
    }

    /// Returns true if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if the set contains exactly this scope.
    pub fn contains(&self, scope: &str) -> bool {
        self.iter().any(|member| member == scope)
    }

    /// Returns the scopes of `wanted` that this set lacks: empty if all are present.
    #[must_use]
    pub fn missing(&self, wanted: &Self) -> Self {
        wanted
            .iter()
            .filter(|scope| !self.contains(scope))
            .map(|scope| Scope(scope.into()))
            .collect()
    }

    /// Builds a set from valid scope tokens.
    fn from_checked(mut members: Vec<&str>) -> Self {
        members.sort_unstable();
        members.dedup();
        if members.is_empty() {
            return Self::EMPTY;
        }
        Self(Some(members.join(" ").into()))
    }
}

impl FromStr for ScopeSet {
    type Err = InvalidScope;

    /// Parses scopes separated by spaces; extra spaces are ignored, and the empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut sorted = !text.is_empty();
        let mut last = "";
        let mut at = 0;
        for part in text.split(' ') {
            if part.is_empty() {
                sorted = false;
            } else {
                check(part, at)?;
                sorted &= last < part;
                last = part;
            }
            at += part.len() + 1;
        }
        if sorted {
            // The common case: one allocation.
            return Ok(Self(Some(text.into())));
        }
        Ok(Self::from_checked(
            text.split(' ').filter(|part| !part.is_empty()).collect(),
        ))
    }
}

impl From<Scope> for ScopeSet {
    fn from(scope: Scope) -> Self {
        Self(Some(scope.0))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let scopes: Vec<Scope> = scopes.into_iter().collect();
        Self::from_checked(scopes.iter().map(Scope::as_str).collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The error for a text that is not a scope. The message names the character and its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.describe())]
pub struct InvalidScope {
    /// The invalid character and its byte offset; `None` if a scope is empty.
    found: Option<(char, usize)>,
}

impl InvalidScope {
    fn describe(&self) -> String {
        match self.found {
            None => "a scope must not be empty; leave it out instead".to_owned(),
            Some((char, at)) => format!(
                "a scope must be printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3), but byte {at} starts {char:?}"
            ),
        }
    }
}

/// Checks for a `scope-token`. `offset` is the position of `text` in the caller's input.
fn check(text: &str, offset: usize) -> Result<(), InvalidScope> {
    if text.is_empty() {
        return Err(InvalidScope { found: None });
    }
    match text
        .char_indices()
        .find(|(_, char)| !matches!(char, '!' | '#'..='[' | ']'..='~'))
    {
        None => Ok(()),
        Some((at, char)) => Err(InvalidScope {
            found: Some((char, offset + at)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    // covers: C-13
    #[test]
    fn refuses_what_the_grammar_refuses() {
        for (text, expected) in [
            ("", "must not be empty"),
            ("a b", "byte 1 starts ' '"),
            ("a\"", "byte 1 starts '\"'"),
            ("a\\b", "byte 1 starts '\\\\'"),
            ("\u{7f}", "byte 0 starts '\\u{7f}'"),
            ("läser", "byte 1 starts 'ä'"),
            ("a\r\n", "byte 1 starts '\\r'"),
        ] {
            let error = text.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let error = "fine b\td".parse::<ScopeSet>().unwrap_err().to_string();
        assert!(error.contains("byte 6 starts '\\t'"), "{error}");
    }

    // covers: C-13, I-08
    #[test]
    fn case_counts_and_absent_is_not_all() {
        let granted: ScopeSet = "Read".parse().unwrap();
        assert!(!granted.contains("read"));
        assert!(!ScopeSet::EMPTY.contains("Read"));
        assert!(!ScopeSet::EMPTY.contains(""));
        let wanted: ScopeSet = "Read write".parse().unwrap();
        assert_eq!(granted.missing(&wanted).as_str(), "write");
        assert_eq!(ScopeSet::EMPTY.missing(&wanted), wanted);
        assert!(wanted.missing(&granted).is_empty());
    }

    proptest! {
        // covers: C-13, C-62
        #[test]
        fn a_set_is_the_same_in_any_order(
            members in proptest::collection::vec("[!#-\\[\\]-~]{1,8}", 0..6),
            spaces in proptest::collection::vec(1usize..3, 6),
        ) {
            let mut text = String::new();
            for (member, count) in members.iter().zip(&spaces) {
                text.push_str(member);
                text.push_str(&" ".repeat(*count));
            }
            let set: ScopeSet = text.parse().unwrap();
            let reference: BTreeSet<&str> = members.iter().map(String::as_str).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), reference.iter().copied().collect::<Vec<_>>());
            let reversed: ScopeSet = members.iter().rev().map(|member| member.parse::<Scope>().unwrap()).collect();
            prop_assert_eq!(&set, &reversed);
            prop_assert_eq!(set.as_str().parse::<ScopeSet>().unwrap(), set);
        }

        // covers: C-13
        #[test]
        fn parsing_agrees_with_the_grammar(text in any::<String>()) {
            let allowed = |byte: u8| byte == 0x21 || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte);
            let legal = !text.is_empty() && text.bytes().all(allowed);
            prop_assert_eq!(text.parse::<Scope>().is_ok(), legal);
        }
    }
}
