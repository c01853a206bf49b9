//! Compiles the code in the project's Markdown files.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
