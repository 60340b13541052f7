//! How busy the machine is: without it a time says little.

use std::fs;

use serde::Serialize;

/// What the kernel says of its load.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Load {
    /// Runnable tasks, averaged over one minute.
    pub(crate) average_1m: f64,
    /// Share of the last ten seconds in which some task waited for a processor, percent; `None` without pressure
    /// information.
    pub(crate) cpu_pressure_percent: Option<f64>,
    /// Processors.
    pub(crate) processors: u32,
}

impl Load {
    pub(crate) fn now() -> Self {
        let pressure = fs::read_to_string("/proc/pressure/cpu").ok();
        Self {
            average_1m: first_number(&fs::read_to_string("/proc/loadavg").unwrap_or_default()).unwrap_or(0.0),
            cpu_pressure_percent: pressure.and_then(|text| some_avg10(&text)),
            processors: crate::host::processors(),
        }
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        let pressure =
            self.cpu_pressure_percent.map_or_else(|| "unknown".to_owned(), |share| format!("{share:.0} %"));
        format!("load {:.1} on {} processors, CPU pressure {pressure}", self.average_1m, self.processors)
    }
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let pressure =
            "some avg10=40.37 avg60=20.78 avg300=12.69 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0\n";
        assert_eq!(some_avg10(pressure), Some(40.37));
        assert_eq!(some_avg10("full avg10=1.0\n"), None);
        assert_eq!(first_number("2.00 16.04 11.23 1/90 13819\n"), Some(2.0));
        assert_eq!(first_number(""), None);
    }
}
