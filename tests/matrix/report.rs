//! The table: rows are scenarios, columns are configurations.

use std::{fmt::Write as _, fs, io, path::Path};

use serde_json::json;

use crate::{configurations::CONFIGURATIONS, scenarios::Scenario};

/// Formats a table. A cell is empty if it passes, and shows the result otherwise.
pub(crate) struct Report {
    rows: Vec<Vec<Option<String>>>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let row = vec![None; CONFIGURATIONS.len()];
        Self {
            rows: Scenario::all().map(|_| row.clone()).collect(),
        }
    }

    pub(crate) fn put(&mut self, row: usize, column: usize, outcome: Result<(), String>) {
        self.rows[row][column] = outcome.err();
    }

    pub(crate) fn failed(&self) -> usize {
        self.rows.iter().flatten().flatten().count()
    }

    fn cells(&self) -> usize {
        self.rows.len() * CONFIGURATIONS.len()
    }

    fn named(&self) -> impl Iterator<Item = (String, &Vec<Option<String>>)> {
        Scenario::all()
            .map(|scenario| scenario.name())
            .zip(&self.rows)
    }

    fn summary(&self) -> String {
        format!("{} cells, {} failed", self.cells(), self.failed())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut table = String::from("| scenario |");
        for configuration in CONFIGURATIONS {
            // Writing to a String cannot fail.
            let _ = write!(table, " {} |", configuration.name());
        }
        table += "\n|---|";
        table += &"---|".repeat(CONFIGURATIONS.len());
        for (name, row) in self.named() {
            let _ = write!(table, "\n| {name} |");
            for cell in row {
                table += if cell.is_none() {
                    " ok |"
                } else {
                    " **FAILED** |"
                };
            }
        }
        let _ = write!(table, "\n\n{}", self.failures());
        table
    }

    /// The number of cells, and each that failed.
    pub(crate) fn failures(&self) -> String {
        let mut list = self.summary();
        for (name, row) in self.named() {
            for (cell, configuration) in row.iter().zip(CONFIGURATIONS) {
                if let Some(seen) = cell {
                    let _ = write!(list, "\n- {name}::{}: {seen}", configuration.name());
                }
            }
        }
        list
    }

    fn json(&self) -> String {
        let cells = self.named().flat_map(|(name, row)| {
            let cells = row.iter().zip(CONFIGURATIONS);
            cells.map(move |(seen, configuration)| {
                json!({
                    "scenario": name,
                    "configuration": configuration.name(),
                    "ok": seen.is_none(),
                    "seen": seen,
                })
            })
        });
        let cells: Vec<_> = cells.collect();
        json!({ "cells": cells, "failed": self.failed() }).to_string()
    }

    fn html(&self) -> String {
        let mut head = String::new();
        for configuration in CONFIGURATIONS {
            let name = configuration.name().replace('_', " ");
            let _ = write!(
                head,
                "<th scope=\"col\"><span>{}</span></th>",
                escaped(&name)
            );
        }
        let mut body = String::new();
        for (name, row) in self.named() {
            let _ = write!(body, "<tr><th scope=\"row\">{}</th>", escaped(&name));
            for cell in row {
                let _ = match cell {
                    None => write!(body, "<td class=\"ok\">&#10003;</td>"),
                    Some(seen) => write!(
                        body,
                        "<td class=\"failed\" title=\"{0}\">&#10007;<small>{0}</small></td>",
                        escaped(seen)
                    ),
                };
            }
            body += "</tr>\n";
        }
        include_str!("page.html")
            .replace("{summary}", &self.summary())
            .replace("{state}", if self.failed() == 0 { "ok" } else { "failed" })
            .replace("{head}", &head)
            .replace("{body}", &body)
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("matrix.md"), self.markdown())?;
        fs::write(folder.join("matrix.json"), self.json())?;
        fs::write(folder.join("matrix.html"), self.html())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
