//! The result of each step, as text and as JSON.

use std::{env, fmt::Write as _, io::Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    out,
};

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Step>);

#[derive(Debug)]
struct Step {
    name: &'static str,
    status: Status,
    detail: String,
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    /// The step succeeded, but may fail soon.
    Warning,
    Failed(Exit),
    Skipped,
    /// An earlier step failed.
    NotReached,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed(_) => "failed",
            Self::Skipped | Self::NotReached => "skipped",
        }
    }

    fn mark(self, unicode: bool) -> &'static str {
        match (self, unicode) {
            (Self::Ok, true) => "✓",
            (Self::Ok, false) => "ok  ",
            (Self::Warning, true) => "!",
            (Self::Warning, false) => "warn",
            (Self::Failed(_), true) => "✗",
            (Self::Failed(_), false) => "FAIL",
            (Self::Skipped | Self::NotReached, true) => "-",
            (Self::Skipped | Self::NotReached, false) => "skip",
        }
    }

    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Ok => colour(AnsiColor::Green),
            Self::Warning => colour(AnsiColor::Yellow),
            Self::Failed(_) => colour(AnsiColor::Red).bold(),
            Self::Skipped | Self::NotReached => Style::new().dimmed(),
        }
    }
}

impl Report {
    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, Status::Ok, detail.into(), None);
    }

    pub(super) fn warning(&mut self, name: &'static str, detail: impl Into<String>, remedy: &str) {
        self.add(
            name,
            Status::Warning,
            detail.into(),
            Some(remedy.to_owned()),
        );
    }

    pub(super) fn skipped(&mut self, name: &'static str, why: &str) {
        self.add(name, Status::Skipped, why.to_owned(), None);
    }

    pub(super) fn failed(&mut self, name: &'static str, failure: &Failure) {
        let remedy = failure.remedy().map(str::to_owned);
        self.add(
            name,
            Status::Failed(failure.exit()),
            failure.message().to_owned(),
            remedy,
        );
    }

    fn add(&mut self, name: &'static str, status: Status, detail: String, remedy: Option<String>) {
        self.0.push(Step {
            name,
            status,
            detail,
            remedy,
        });
    }

    /// Marks the steps that were not reached as skipped.
    pub(super) fn complete(&mut self, all: &[&'static str]) {
        for &name in all {
            if !self.0.iter().any(|step| step.name == name) {
                let why = "an earlier step failed".to_owned();
                self.add(name, Status::NotReached, why, None);
            }
        }
    }

    /// Returns the exit code of the first step that failed.
    pub(super) fn exit(&self) -> Exit {
        let failed = self.0.iter().find_map(|step| match step.status {
            Status::Failed(exit) => Some(exit),
            _ => None,
        });
        failed.unwrap_or(Exit::Ok)
    }

    pub(super) fn to_json(&self) -> Value {
        let step = |step: &Step| {
            json!({
                "name": step.name,
                "status": step.status.name(),
                "detail": step.detail,
                "remedy": step.remedy,
            })
        };
        json!({
            "ok": self.exit() == Exit::Ok,
            "exit_code": self.exit().code(),
            "steps": self.0.iter().map(step).collect::<Value>(),
        })
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        let text = self.text(supports_unicode());
        let mut out = anstream::stdout();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        out::is_reader_open(written).map(|_| ())
    }

    fn text(&self, unicode: bool) -> String {
        let mut text = String::new();
        let is_reached = |step: &&Step| step.status != Status::NotReached;
        for step in self.0.iter().filter(is_reached) {
            let (mark, style) = (step.status.mark(unicode), step.status.style());
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{style}{mark}{style:#} {:<14}  {}",
                step.name, step.detail
            );
            if let Some(remedy) = &step.remedy {
                let indent = if unicode { 2 } else { 5 };
                let _ = writeln!(text, "{:indent$}{:<14}  {remedy}", "", "");
            }
        }
        let rest = self.0.iter().filter(|step| !is_reached(step));
        let rest: Vec<&str> = rest.map(|step| step.name).collect();
        if !rest.is_empty() {
            let (mark, style) = (Status::NotReached.mark(unicode), Status::NotReached.style());
            let rest = rest.join(", ");
            let _ = writeln!(text, "{style}{mark}{style:#} {:<14}  {rest}", "not checked");
        }
        text
    }
}

/// Returns true if the terminal can be expected to show a tick, according to its locale.
fn supports_unicode() -> bool {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    if cfg!(windows) || !is_terminal {
        return is_terminal;
    }
    let set = |name: &&str| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.ok("one", "fine");
        report.warning("two", "soon", "renew it");
        report.failed(
            "three",
            &Failure::new(Exit::Refused, "no").with_remedy("ask"),
        );
        report.complete(&["one", "two", "three", "four"]);
        report
    }

    #[test]
    fn the_first_failed_step_sets_the_exit_code() {
        let report = report();
        assert_eq!(report.exit(), Exit::Refused);
        let json = report.to_json();
        assert_eq!(
            (&json["ok"], &json["exit_code"]),
            (&json!(false), &json!(4))
        );
        assert_eq!(json["steps"][3]["status"], "skipped");
        assert_eq!(json["steps"][2]["remedy"], "ask");
    }

    #[test]
    fn marks_are_ascii_without_unicode() {
        let plain = anstream::adapter::strip_str(&report().text(false)).to_string();
        assert!(plain.is_ascii(), "{plain}");
        assert!(
            plain.starts_with("ok   one             fine\nwarn two             soon\n"),
            "{plain}"
        );
        assert!(
            plain.contains("\n                     renew it\n"),
            "{plain}"
        );
        assert!(plain.ends_with("skip not checked     four\n"), "{plain}");
        let ticks = anstream::adapter::strip_str(&report().text(true)).to_string();
        assert!(
            ticks.starts_with("✓ one             fine\n! two             soon\n"),
            "{ticks}"
        );
    }
}
