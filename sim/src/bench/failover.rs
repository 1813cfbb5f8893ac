//! How long users wait when the leader of a realm goes: from the fault to the first success of a recovery that began
//! after it, wherever a balancer sent it.

use super::numbers::percentile;
use super::options::Options;
use super::place::Place;
use super::progress::Progress;
use super::report::{Failover, Way};
use super::tables;
use crate::Error;
use crate::chaos::{Going, Met, Programs, Realm, Trials, Wires};
use std::time::Duration;

/// The ways that are measured: `strongroom-sim failover` has more.
const WAYS: [Going; 4] = [Going::AgentKilled, Going::HsmKilled, Going::BothKilled, Going::BothStopped];

/// Measures on one store, and prints each line when it is known.
///
/// # Errors
/// A process does not start, or the realm is not well again after a trial.
pub(super) async fn measure(
    options: &Options,
    place: &Place,
    programs: &Programs,
    progress: &Progress,
) -> Result<Failover, Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-bench-").tempdir()?;
    progress.say(format!("failover on {place}: starting"));
    let store = place.ready(folder.path(), options.put_ms, &options.store_option).await?;
    let realm = Realm::start_on(folder.path(), programs, store, Wires::Direct).await?;
    let mut trials = Trials::new(realm).await?;
    let mut failover = Failover { store: place.to_string(), put_ms: options.put_ms, ways: Vec::new() };
    let title = tables::failover_title(&failover);
    progress.tell(&format!("\n{title}\n{}", tables::failover(&failover).head()));
    for going in WAYS {
        let mut met = Met::default();
        for trial in 1..=options.trials {
            progress.say(format!("{title}: {going}, {trial} of {}", options.trials));
            trials.once(going, &mut met).await?;
        }
        failover.ways.push(summary(going, options.trials, &met));
        progress.tell(&tables::failover(&failover).last());
    }
    Ok(failover)
}

fn summary(going: Going, trials: usize, met: &Met) -> Way {
    let ms = |took: &Duration| took.as_secs_f64() * 1e3;
    let until_served_ms: Vec<f64> = met.until_served.iter().map(ms).collect();
    let mut sorted = until_served_ms.clone();
    let [p50_ms, p95_ms, most_ms] = [50.0, 95.0, 100.0].map(|percent| percentile(&mut sorted, percent));
    Way {
        way: going.to_string(),
        trials,
        p50_ms,
        p95_ms,
        most_ms,
        until_served_ms,
        slowest_client_ms: met.took.iter().max().map(ms),
        clients: met.took.len(),
        failed: met.failed.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_trials_the_middle_and_the_slowest_are_told() {
        let until_served = [300, 100, 200].map(Duration::from_millis).into();
        let took = [50, 900].map(Duration::from_millis).into();
        let met = Met { until_served, took, failed: vec!["why".into()] };
        let way = summary(Going::HsmKilled, 4, &met);
        assert_eq!((way.p50_ms, way.p95_ms, way.most_ms), (Some(200.0), Some(300.0), Some(300.0)));
        assert_eq!((way.way.as_str(), way.trials, way.clients, way.failed), ("HSM killed", 4, 2, 1));
        assert_eq!((way.until_served_ms.len(), way.slowest_client_ms), (3, Some(900.0)));
    }
}
