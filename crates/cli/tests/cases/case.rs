//! A case as its file describes it. Unknown members and insufficient expectations are errors.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

pub(crate) struct Case {
    /// The profile of runs without their own.
    pub(crate) profile: String,
    pub(crate) files: Vec<File>,
    pub(crate) environment: Vec<(String, String)>,
    /// The servers, sorted by name.
    pub(crate) servers: Vec<(String, Vec<Answer>)>,
    /// The files with certificate and key of servers that use TLS.
    pub(crate) tls: BTreeMap<String, (String, String)>,
    pub(crate) runs: Vec<Run>,
    /// True if the case needs a Unix shell.
    pub(crate) unix: bool,
}

/// A file in the user's home directory.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content: Content,
    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) executable: bool,
}

/// The n-th response of a server; the last one repeats.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Content,
}

pub(crate) enum Content {
    Text(String),
    Base64(String),
}

pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) profile: Option<String>,
    /// Settings in addition to the profile's.
    pub(crate) settings: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) expected: Expectation,
}

#[derive(Clone, Default)]
pub(crate) struct Expectation {
    pub(crate) exit: i32,
    /// The number of requests to each server.
    pub(crate) requests: BTreeMap<String, usize>,
    /// The complete standard output.
    pub(crate) stdout: Option<String>,
    pub(crate) stdout_has: Vec<String>,
    pub(crate) stdout_lacks: Vec<String>,
    pub(crate) stderr: Option<String>,
    pub(crate) stderr_has: Vec<String>,
    pub(crate) stderr_lacks: Vec<String>,
    /// Text that the requests of this run must contain.
    pub(crate) sent_has: Vec<String>,
    pub(crate) sent_lacks: Vec<String>,
    /// Files in the home directory, with their complete contents.
    pub(crate) files: BTreeMap<String, String>,
}

impl Expectation {
    /// Returns the expectations with the servers' addresses filled in.
    pub(crate) fn fill_placeholders(&self, places: &BTreeMap<String, String>) -> Self {
        let mut expected = self.clone();
        let lists = [
            &mut expected.stdout_has,
            &mut expected.stdout_lacks,
            &mut expected.stderr_has,
            &mut expected.stderr_lacks,
            &mut expected.sent_has,
            &mut expected.sent_lacks,
        ];
        for text in lists.into_iter().flatten() {
            *text = super::fill_placeholders(text, places);
        }
        expected
    }
}

type ReadResult<T> = Result<T, String>;

impl Case {
    pub(crate) fn read(text: &str) -> ReadResult<Self> {
        let table = DeTable::parse(text).map_err(|error| error.to_string())?;
        let mut members = Members(object(table.get_ref()));
        // The subject is for human readers only.
        members
            .text("subject")?
            .ok_or("the case has no `subject`")?;
        let mut servers = Vec::new();
        for (name, answers) in members.table("servers")? {
            let answers = list(answers)?.into_iter().map(Answer::read);
            servers.push((name, answers.collect::<ReadResult<Vec<_>>>()?));
        }
        let runs = members.list("runs")?.into_iter();
        let runs = runs.map(|run| Run::read(run, &servers));
        let case = Self {
            profile: members.text("profile")?.unwrap_or_default(),
            files: members.files()?,
            environment: members.pairs("environment")?,
            runs: runs.collect::<ReadResult<Vec<_>>>()?,
            tls: members.tls()?,
            servers,
            unix: members.flag("unix")?,
        };
        if case.runs.is_empty() {
            return Err("the case has no `runs`".to_owned());
        }
        members.end()?;
        let named = case.tls.values().flat_map(|(one, other)| [one, other]);
        named
            .map(|name| case.file(name))
            .collect::<ReadResult<Vec<_>>>()?;
        Ok(case)
    }

    pub(crate) fn file(&self, name: &str) -> ReadResult<&File> {
        let found = self.files.iter().find(|file| file.name == name);
        found.ok_or_else(|| format!("the case has no file `{name}`"))
    }
}

impl Answer {
    fn read(value: Value) -> ReadResult<Self> {
        let mut members = Members::of(value)?;
        let body = members.content("body", "body_base64")?;
        let status = members.number("status")?.unwrap_or(200);
        let mut headers = members.pairs("headers")?;
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        members.end()?;
        Ok(Self {
            status: u16::try_from(status).map_err(|error| error.to_string())?,
            headers,
            body,
        })
    }
}

impl Run {
    fn read(value: Value, servers: &[(String, Vec<Answer>)]) -> ReadResult<Self> {
        let mut members = Members::of(value)?;
        // The subject is for human readers only.
        members.text("subject")?;
        let run = Self {
            command: members.text("command")?.ok_or("a run has no `command`")?,
            profile: members.text("profile")?,
            settings: members.text("settings")?.unwrap_or_default(),
            environment: members.pairs("environment")?,
            expected: Expectation::read(&mut members, servers)?,
        };
        members.end()?;
        Ok(run)
    }
}

impl Expectation {
    fn read(members: &mut Members, servers: &[(String, Vec<Answer>)]) -> ReadResult<Self> {
        let exit = members.number("exit")?.ok_or("a run has no `exit`")?;
        let mut requests = BTreeMap::new();
        for (server, _) in servers {
            // If there are several servers, those not named get no requests.
            let count = match servers {
                [_] => members
                    .number("requests")?
                    .ok_or("a run has no `requests`")?,
                _ => members.number(&format!("requests_{server}"))?.unwrap_or(0),
            };
            let count = usize::try_from(count).map_err(|error| error.to_string())?;
            requests.insert(server.clone(), count);
        }
        let expected = Self {
            exit: i32::try_from(exit).map_err(|error| error.to_string())?,
            requests,
            stdout: members.text("stdout")?,
            stdout_has: members.texts("stdout_has")?,
            stdout_lacks: members.texts("stdout_lacks")?,
            stderr: members.text("stderr")?,
            stderr_has: members.texts("stderr_has")?,
            stderr_lacks: members.texts("stderr_lacks")?,
            sent_has: members.texts("sent_has")?,
            sent_lacks: members.texts("sent_lacks")?,
            files: members.pairs("files")?.into_iter().collect(),
        };
        let says = [&expected.stdout_has, &expected.stderr_has];
        let exact = expected
            .stdout
            .as_ref()
            .is_some_and(|text| !text.is_empty());
        if !exact && says.into_iter().all(Vec::is_empty) {
            return Err("a run checks no text: `stdout`, `stdout_has` or `stderr_has`".to_owned());
        }
        Ok(expected)
    }
}

/// The members of a table, removed one by one so that the remaining ones are unknown.
struct Members(Map<String, Value>);

impl Members {
    fn of(value: Value) -> ReadResult<Self> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => Err(format!("{other} is no table")),
        }
    }

    fn text(&mut self, name: &str) -> ReadResult<Option<String>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` is no text")),
        }
    }

    fn content(&mut self, text: &str, base64: &str) -> ReadResult<Content> {
        match (self.text(text)?, self.text(base64)?) {
            (Some(text), None) => Ok(Content::Text(text)),
            (None, Some(base64)) => Ok(Content::Base64(base64)),
            _ => Err(format!("it takes `{text}` or `{base64}`")),
        }
    }

    fn number(&mut self, name: &str) -> ReadResult<Option<i64>> {
        let number = self.0.remove(name).map(|value| value.as_i64());
        number
            .map(|number| number.ok_or_else(|| format!("`{name}` is no number")))
            .transpose()
    }

    fn flag(&mut self, name: &str) -> ReadResult<bool> {
        let flag = self
            .0
            .remove(name)
            .map_or(Some(false), |value| value.as_bool());
        flag.ok_or_else(|| format!("`{name}` is no boolean"))
    }

    fn list(&mut self, name: &str) -> ReadResult<Vec<Value>> {
        self.0.remove(name).map_or(Ok(Vec::new()), list)
    }

    fn texts(&mut self, name: &str) -> ReadResult<Vec<String>> {
        let texts = self.list(name)?.into_iter().map(|value| match value {
            Value::String(text) => Ok(text),
            _ => Err(format!("`{name}` holds something else than texts")),
        });
        texts.collect()
    }

    fn table(&mut self, name: &str) -> ReadResult<Map<String, Value>> {
        let table = self.0.remove(name).map(Self::of).transpose()?;
        Ok(table.map(|members| members.0).unwrap_or_default())
    }

    fn pairs(&mut self, name: &str) -> ReadResult<Vec<(String, String)>> {
        let pairs = self
            .table(name)?
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                _ => Err(format!("`{name}` holds something else than texts")),
            });
        pairs.collect()
    }

    fn files(&mut self) -> ReadResult<Vec<File>> {
        let files = self.table("files")?.into_iter().map(|(name, value)| {
            let mut members = Self::of(value)?;
            let content = members.content("text", "base64")?;
            let executable = members.flag("executable")?;
            members.end()?;
            Ok(File {
                name,
                content,
                executable,
            })
        });
        files.collect()
    }

    fn tls(&mut self) -> ReadResult<BTreeMap<String, (String, String)>> {
        let servers = self.table("tls")?.into_iter().map(|(server, value)| {
            let mut members = Self::of(value)?;
            let certificate = members
                .text("certificate")?
                .ok_or("TLS has no `certificate`")?;
            let key = members.text("key")?.ok_or("TLS has no `key`")?;
            members.end()?;
            Ok((server, (certificate, key)))
        });
        servers.collect()
    }

    fn end(self) -> ReadResult<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("`{name}` is unknown")),
        }
    }
}

fn list(value: Value) -> ReadResult<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(format!("{other} is no list")),
    }
}

fn object(table: &DeTable<'_>) -> Map<String, Value> {
    let members = table.iter().map(|(name, value)| {
        let value = json(value.get_ref());
        (name.get_ref().to_string(), value)
    });
    members.collect()
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => number
            .as_str()
            .parse::<i64>()
            .map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Array(list) => list.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(object(table)),
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Null,
    }
}
