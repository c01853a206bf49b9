//! The page of a run: the results of the checks, and a picture with one time axis.

// Coordinates and counts are small.
#![allow(clippy::cast_precision_loss)]

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    NEEDS_REDIS,
    checks::{Check, Run},
    director::LANES,
    ledger::{Ledger, Micros, SECOND},
    samples::{RESOURCES, Sample},
    scan::{PAGE, Scanner},
};

/// The report, as a page and as text.
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) text: String,
    pub(crate) passed: bool,
}

/// Formats the report, and checks that it has no secret itself.
pub(crate) fn page(run: &Run, ledger: &Ledger, mut checks: Vec<Check>, scanner: &Scanner) -> Page {
    let figures = figures(run, ledger);
    let html = html(run, &figures, &checks);
    scanner.scan(PAGE, &html);
    scanner.scan(PAGE, &format!("{html}{}", crate::PLANTED));
    let leaks = scanner
        .found()
        .keys()
        .filter(|found| found.starts_with(PAGE))
        .count();
    let passed = leaks == 0 && scanner.control(PAGE);
    checks.push(Check {
        statement: "no secret is in this page".into(),
        seen: leaks.to_string(),
        passed,
    });
    // The page may be shown although it is not the one that was searched: the last row has a number only.
    let html = self::html(run, &figures, &checks);
    Page {
        html,
        text: text(&figures, &checks),
        passed: checks.iter().all(|check| check.passed),
    }
}

/// Returns the figures of the summary, each with its name.
fn figures(run: &Run, ledger: &Ledger) -> Vec<(String, String)> {
    let mut figures = vec![
        ("seconds".into(), run.seconds().to_string()),
        ("seed".into(), run.seed.to_string()),
        ("calls a second".into(), run.rate.to_string()),
        (
            "token store".into(),
            if run.with_redis { "Redis" } else { "in memory" }.into(),
        ),
    ];
    if !run.with_redis {
        figures.push(("not tested".into(), NEEDS_REDIS.into()));
    }
    for outcome in ["ok", "fault of the API", "failed"] {
        let calls = run.outcome(outcome);
        figures.push((
            format!("calls of the service: {outcome}"),
            calls.to_string(),
        ));
    }
    let counts = ledger.counts.iter();
    figures.extend(counts.map(|(name, count)| ((*name).to_owned(), count.to_string())));
    for ((lane, name), count) in counted(run) {
        figures.push((format!("{lane}: {name}"), count.to_string()));
    }
    figures
}

/// Counts the events of each name.
fn counted(run: &Run) -> BTreeMap<(&'static str, &str), u64> {
    let mut counts = BTreeMap::new();
    for mark in &run.marks {
        let name = if mark.lane == "revocations" {
            "tokens"
        } else {
            &mark.name
        };
        *counts.entry((mark.lane, name)).or_default() += 1;
    }
    counts
}

fn text(figures: &[(String, String)], checks: &[Check]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (name, value) in figures {
        let _ = writeln!(text, "{name}: {value}");
    }
    for check in checks {
        let state = if check.passed { "ok    " } else { "FAILED" };
        let _ = writeln!(text, "{state} {} ({})", check.statement, check.seen);
    }
    text
}

fn html(run: &Run, figures: &[(String, String)], checks: &[Check]) -> String {
    let failed = checks.iter().filter(|check| !check.passed).count();
    let mut rows = String::new();
    for check in checks {
        let (class, sign) = if check.passed {
            ("ok", "&#10003;")
        } else {
            ("failed", "&#10007;")
        };
        let _ = writeln!(
            rows,
            "<tr><td class=\"{class}\">{sign}</td><td>{}</td><td>{}</td></tr>",
            escaped(&check.statement),
            escaped(&check.seen)
        );
    }
    let mut list = String::new();
    for (name, value) in figures {
        let _ = writeln!(
            list,
            "<dt>{}</dt><dd>{}</dd>",
            escaped(name),
            escaped(value)
        );
    }
    include_str!("page.html")
        .replace("{state}", if failed == 0 { "ok" } else { "failed" })
        .replace(
            "{summary}",
            &format!(
                "{} s, {} checks, {failed} failed",
                run.seconds(),
                checks.len()
            ),
        )
        .replace("{checks}", &rows)
        .replace("{figures}", &list)
        .replace("{legend}", &legend(run))
        .replace("{picture}", &Picture::new(run).draw())
}

/// The colours of events, in the order of their names.
const COLOURS: [&str; 9] = [
    "#cf222e", "#bc4c00", "#9a6700", "#1a7f37", "#0969da", "#8250df", "#bf3989", "#57606a",
    "#0e7c86",
];

fn colour(run: &Run, lane: &str, name: &str) -> &'static str {
    let counts = counted(run);
    let mut names = counts.keys().filter(|(known, _)| *known == lane);
    let at = names.position(|(_, known)| *known == name).unwrap_or(0);
    COLOURS[at % COLOURS.len()]
}

fn legend(run: &Run) -> String {
    let mut text = String::new();
    let mut last = "";
    for ((lane, name), count) in counted(run) {
        if lane != last {
            let _ = write!(text, "</p>\n<p class=\"legend\"><b>{lane}</b>");
            last = lane;
        }
        let colour = colour(run, lane, name);
        let _ = write!(
            text,
            " <span><i style=\"background:{colour}\"></i>{name} &#215; {count}</span>"
        );
    }
    format!("<p>{text}</p>")
}

const LEFT: f64 = 130.0;
const WIDTH: f64 = 1_000.0;
const LANE: f64 = 18.0;
const PANEL: f64 = 74.0;
const GAP: f64 = 16.0;

/// A line of a panel.
struct Line {
    name: &'static str,
    colour: &'static str,
    values: Vec<Option<f64>>,
}

struct Picture<'a> {
    run: &'a Run,
    svg: String,
    /// The y coordinate of the next panel.
    top: f64,
}

impl<'a> Picture<'a> {
    fn new(run: &'a Run) -> Self {
        Self {
            run,
            svg: String::new(),
            top: 8.0,
        }
    }

    fn x(&self, at: Micros) -> f64 {
        let length = (self.run.end - self.run.start).max(1);
        let since = at.clamp(self.run.start, self.run.end) - self.run.start;
        LEFT + WIDTH * since as f64 / length as f64
    }

    fn draw(mut self) -> String {
        let lanes_end = self.top + LANE * LANES.len() as f64;
        let height = lanes_end + (3 + RESOURCES.len()) as f64 * (PANEL + GAP) + GAP + 24.0;
        self.faults(lanes_end, height - 24.0);
        for lane in LANES {
            self.lane(lane);
        }
        self.top += GAP;
        for (title, lines) in panels(&self.run.samples) {
            let log = title.contains("latency");
            self.panel(title, &lines, log);
        }
        self.axis();
        format!(
            "<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"Measurements over time\">\n{}</svg>",
            // Half of the last label of the axis.
            LEFT + WIDTH + 20.0,
            self.svg
        )
    }

    /// Shades the times of faults in all panels.
    fn faults(&mut self, from: f64, to: f64) {
        for mark in self.run.marks.iter().filter(|mark| mark.lane == "faults") {
            let (start, end) = (self.x(mark.start), self.x(mark.end));
            let _ = writeln!(
                self.svg,
                "<rect x=\"{start:.1}\" y=\"{from}\" width=\"{:.1}\" height=\"{:.1}\" class=\"shade\"/>",
                end - start,
                to - from
            );
        }
        for mark in self
            .run
            .marks
            .iter()
            .filter(|mark| mark.name == "service restart")
        {
            let x = self.x(mark.start);
            let _ = writeln!(
                self.svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\" class=\"restart\"/>"
            );
        }
    }

    fn lane(&mut self, lane: &'static str) {
        let y = self.top;
        self.text(LEFT - 8.0, y + LANE - 5.0, "end", lane);
        for mark in self.run.marks.iter().filter(|mark| mark.lane == lane) {
            let (start, end) = (self.x(mark.start), self.x(mark.end));
            let name = if lane == "revocations" {
                "tokens"
            } else {
                &mark.name
            };
            let _ = writeln!(
                self.svg,
                "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"><title>{}</title></rect>",
                y + 2.0,
                (end - start).max(2.5),
                LANE - 4.0,
                colour(self.run, lane, name),
                escaped(&mark.name)
            );
        }
        self.top += LANE;
    }

    fn panel(&mut self, title: &str, lines: &[Line], log: bool) {
        let (top, bottom) = (self.top, self.top + PANEL);
        let values = lines.iter().flat_map(|line| line.values.iter().flatten());
        let max = rounded(values.copied().fold(1.0, f64::max));
        // A logarithmic scale begins at 0.1.
        let share = |value: f64| {
            if log {
                (value.max(0.1) * 10.0).log10() / (max * 10.0).log10()
            } else {
                value / max
            }
        };
        let _ = writeln!(
            self.svg,
            "<path d=\"M{LEFT} {top}V{bottom}H{}\" class=\"frame\"/>",
            LEFT + WIDTH
        );
        self.text(LEFT - 8.0, top + 9.0, "end", &number(max));
        self.text(LEFT - 8.0, bottom, "end", if log { "0.1" } else { "0" });
        self.text(0.0, top + PANEL / 2.0 - 4.0, "start", title);
        // Above the lines.
        let (mut x, y) = (LEFT + 6.0, top - 3.0);
        for line in lines {
            let mut path = String::new();
            let mut connected = false;
            for (sample, value) in self.run.samples.iter().zip(&line.values) {
                let inside = (self.run.start..=self.run.end).contains(&sample.at);
                let Some(value) = value.filter(|_| inside) else {
                    connected = false;
                    continue;
                };
                let step = if connected { 'L' } else { 'M' };
                let y = bottom - PANEL * share(value);
                let _ = write!(path, "{step}{:.1} {y:.1}", self.x(sample.at));
                connected = true;
            }
            let _ = writeln!(
                self.svg,
                "<path d=\"{path}\" class=\"line\" stroke=\"{}\"/>",
                line.colour
            );
            if !line.name.is_empty() {
                let _ = writeln!(
                    self.svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" style=\"fill:{}\" class=\"name\">{}</text>",
                    line.colour, line.name
                );
                x += 8.0 * line.name.len() as f64 + 12.0;
            }
        }
        self.top += PANEL + GAP;
    }

    fn axis(&mut self) {
        let seconds = self.run.seconds().max(1);
        let steps = [1, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600];
        let step = steps.into_iter().find(|step| seconds / step <= 12);
        let step = step.unwrap_or(7_200);
        let y = self.top;
        for at in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
            let x = self.x(self.run.start + at * SECOND);
            self.text(x, y, "middle", &format!("{}:{:02}", at / 60, at % 60));
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    }
}

fn panels(samples: &[Sample]) -> Vec<(&'static str, Vec<Line>)> {
    let line = |name, colour, value: &dyn Fn(usize, &Sample) -> Option<f64>| Line {
        name,
        colour,
        values: samples
            .iter()
            .enumerate()
            .map(|(at, sample)| value(at, sample))
            .collect(),
    };
    let outcome =
        |name: &'static str| move |_: usize, sample: &Sample| Some(sample.outcome(name) as f64);
    let requests = |at: usize, sample: &Sample| {
        let before = samples.get(at.checked_sub(1)?)?;
        Some((sample.token_requests - before.token_requests) as f64)
    };
    let latency = |nth: usize| {
        move |_: usize, sample: &Sample| sample.latencies[nth].map(|time| time as f64 / 1_000.0)
    };
    let mut panels = vec![
        (
            "calls per second",
            vec![
                line("accepted", "#1a7f37", &outcome("ok")),
                line("fault of the API", "#9a6700", &outcome("fault of the API")),
                line("failed", "#cf222e", &outcome("failed")),
            ],
        ),
        (
            "token requests",
            vec![line("per second", "#8250df", &requests)],
        ),
        (
            "latency in ms",
            vec![
                line("50 %", "#0969da", &latency(0)),
                line("95 %", "#bc4c00", &latency(1)),
                line("99 %", "#cf222e", &latency(2)),
            ],
        ),
    ];
    for (nth, resource) in RESOURCES.iter().enumerate() {
        // Memory is shown in MiB.
        let (title, unit) = match nth {
            0 => ("resident MiB", 1_024.0),
            1 => ("allocated MiB", 1_024.0),
            _ => (resource.name, 1.0),
        };
        let value = move |_: usize, sample: &Sample| Some(sample.resources[nth] as f64 / unit);
        panels.push((title, vec![line("", "#0969da", &value)]));
    }
    panels
}

/// Rounds the end of a scale up.
fn rounded(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
