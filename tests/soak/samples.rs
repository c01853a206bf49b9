//! Measurements of the service, one a second, and their growth.

use std::{collections::BTreeMap, fs};

use crate::ledger::{Micros, SECOND};

/// The measurements of a second.
#[derive(Clone, Default)]
pub(crate) struct Sample {
    pub(crate) at: Micros,
    /// The number of the service's start.
    pub(crate) life: u64,
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// The 50th, 95th and 99th percentile, in microseconds.
    pub(crate) latencies: [Option<u64>; 3],
    pub(crate) token_requests: u64,
    pub(crate) resources: [u64; RESOURCES.len()],
}

impl Sample {
    pub(crate) fn outcome(&self, name: &str) -> u64 {
        self.outcomes.get(name).copied().unwrap_or(0)
    }
}

/// A resource that must not grow.
#[derive(Clone, Copy)]
pub(crate) struct Resource {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The growth of the median that is allowed.
    pub(crate) allowance: u64,
    /// The growth within a life of the service that is allowed: at least twice that of ten minutes without a fault.
    pub(crate) in_life: u64,
}

/// The resources, in the order of `Sample::resources`.
pub(crate) const RESOURCES: [Resource; 6] = [
    Resource {
        name: "resident memory",
        unit: "KiB",
        allowance: 4_096,
        in_life: 4_096,
    },
    Resource {
        name: "allocated memory",
        unit: "KiB",
        allowance: 512,
        in_life: 1_024,
    },
    Resource {
        name: "tokio tasks",
        unit: "",
        // Calls in progress are tasks, and their number depends on the load of the machine.
        allowance: 20,
        in_life: 20,
    },
    Resource {
        name: "threads",
        unit: "",
        allowance: 3,
        in_life: 3,
    },
    Resource {
        name: "sockets",
        unit: "",
        allowance: 5,
        in_life: 10,
    },
    Resource {
        name: "other file descriptors",
        unit: "",
        allowance: 2,
        in_life: 2,
    },
];

/// Shorter runs say nothing about growth.
pub(crate) const SHORTEST: Micros = 55 * SECOND;

/// The medians of the second and of the last quarter.
pub(crate) struct Growth {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// Returns the growth of a resource, if the run was long enough and the resource was measured.
pub(crate) fn growth(samples: &[Sample], resource: usize) -> Option<Growth> {
    let length = samples.last()?.at - samples.first()?.at;
    if length < SHORTEST {
        return None;
    }
    let quarter = samples.len() / 4;
    let median = |samples: &[Sample]| {
        let mut values: Vec<u64> = samples
            .iter()
            .map(|sample| sample.resources[resource])
            .collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let growth = Growth {
        before: median(&samples[quarter..2 * quarter]),
        after: median(&samples[3 * quarter..]),
    };
    (growth.after > 0).then_some(growth)
}

/// Returns resident memory in KiB, threads, sockets and other file descriptors of a process.
pub(crate) fn of_process(pid: u32) -> [u64; 4] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let descriptors = descriptors.into_iter().flatten().flatten();
    let [mut sockets, mut others] = [0; 2];
    for descriptor in descriptors {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("socket:") {
            sockets += 1;
        } else {
            others += 1;
        }
    }
    [number("VmRSS:"), number("Threads:"), sockets, others]
}
