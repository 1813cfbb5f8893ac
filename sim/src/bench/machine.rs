//! The machine that something was measured on, and how long its processes have kept a processor busy.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

/// The machine and the build.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Machine {
    pub processor: String,
    /// What the scheduler offers this program, not what the machine has.
    pub cores: usize,
    pub memory_mib: u64,
    pub system: String,
    /// How many wanted a processor, on average over the minute before.
    pub load: f64,
    pub version: String,
    pub build: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here() -> Self {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds);
        let brand = system.cpus().first().map_or("", |cpu| cpu.brand()).trim();
        let name = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into());
        let kernel = System::kernel_version().unwrap_or_default();
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        // Of what x86-64-v3 has over x86-64, what long multiplications gain from.
        let wide = cfg!(all(target_feature = "bmi2", target_feature = "avx2"));
        let build =
            if wide { format!("{build}, for processors with BMI2 and AVX2,") } else { build.to_owned() };
        Self {
            processor: format!("{brand} ({})", System::cpu_arch()).trim().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: system.total_memory() >> 20,
            system: format!("{name}, kernel {kernel}"),
            load: System::load_average().one,
            version: env!("CARGO_PKG_VERSION").into(),
            build,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mib, system, load, version, build } = self;
        write!(
            f,
            "{processor}, {cores} cores, {memory_mib} MiB, {system}; load {load:.1} before; version {version}, {build} build"
        )
    }
}

/// How long processes have kept a processor busy, by name, in milliseconds: in user and system mode, all threads. A
/// process that the system does not report is missing.
#[derive(Default)]
pub(super) struct Processor(BTreeMap<String, u64>);

impl Processor {
    /// That of these processes, since each began.
    pub(super) fn of(processes: &[(String, u32)]) -> Self {
        let ids: Vec<Pid> = processes.iter().map(|(_, id)| Pid::from_u32(*id)).collect();
        let mut system = System::new();
        let kind = ProcessRefreshKind::nothing().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&ids), false, kind);
        let told = processes
            .iter()
            .zip(ids)
            .filter_map(|((name, _), id)| Some((name.clone(), system.process(id)?.accumulated_cpu_time())));
        Self(told.collect())
    }

    /// What was added since.
    pub(super) fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let added = |(name, now): (&String, &u64)| {
            Some((name.clone(), now.saturating_sub(*before.0.get(name)?) as f64))
        };
        self.0.iter().filter_map(added).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_does_is_counted_and_what_is_not_there_is_missing() {
        let own = [("own".to_owned(), std::process::id()), ("none".to_owned(), u32::MAX >> 1)];
        let before = Processor::of(&own);
        while Processor::of(&own).since(&before)["own"] < 30.0 {}
        assert_eq!(Processor::of(&own).since(&before).len(), 1);
    }
}
