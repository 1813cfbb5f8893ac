//! A user's device: the SDK, and a record of what it does.

use super::door::{Doors, Sent};
use super::history::{Asked, Micros, Operation, Outcome, Phase, Step};
use crate::Error;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use strongroom_client::{self as sdk, Cause, Client, ErrorKind, Pin, Progress, UserSecret};

/// The clock and the history of a run. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    began: Instant,
    history: Arc<Mutex<Vec<Operation>>>,
}

impl Recorder {
    /// An empty history that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), history: Arc::default() }
    }

    /// The time of the run.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.began.elapsed().as_micros().try_into().unwrap_or(Micros::MAX)
    }

    /// How many operations have ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has ended so far.
    #[must_use]
    pub fn history(&self) -> Vec<Operation> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Operation>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// One device of one user. It does one thing at a time.
pub struct Device {
    user: String,
    client: Client,
    sent: Sent,
    phases: Arc<Mutex<Vec<Phase>>>,
    recorder: Recorder,
}

impl Device {
    /// A new device, which goes through these doors.
    #[must_use]
    pub fn new(doors: &Doors, user: &str, recorder: &Recorder) -> Self {
        let sent = Sent::default();
        let phases: Arc<Mutex<Vec<Phase>>> = Arc::default();
        let (told, counted, clock) = (Arc::clone(&phases), sent.clone(), recorder.clone());
        let client = doors.device(user, &sent, move |progress| {
            if let Some(step) = step(progress) {
                let mut phases = told.lock().unwrap_or_else(PoisonError::into_inner);
                count(&mut phases, &counted);
                phases.push(Phase { step, at: clock.now(), sent: 0 });
            }
        });
        Self { user: user.to_owned(), client, sent, phases, recorder: recorder.clone() }
    }

    /// Does what is asked, records it in the history, and returns the outcome.
    ///
    /// # Errors
    /// What is asked is not something that the SDK accepts.
    pub async fn perform(&self, asked: Asked) -> Result<Outcome, Error> {
        self.lock().clear();
        // Nothing of the previous operation is still on its way: the SDK leaves nothing behind.
        let _ = self.sent.take();
        let began = self.recorder.now();
        let outcome = match &asked {
            Asked::Register { pin, secret, guesses } => {
                let guesses = NonZeroU8::new((*guesses).try_into()?).ok_or("a registration needs a guess")?;
                let secret = UserSecret::new(secret.as_bytes())?;
                let done = self.client.register(&Pin::from(pin.as_str()), &secret, b"", guesses).await;
                done.map_or_else(|error| failed(&error), |()| Outcome::Done)
            }
            Asked::Delete => {
                let done = self.client.delete().await;
                done.map_or_else(|error| failed(&error), |()| Outcome::Done)
            }
            Asked::Recover { pin } => recovered(self.client.recover(&Pin::from(pin.as_str()), b"").await),
        };
        let ended = self.recorder.now();
        let mut phases = std::mem::take(&mut *self.lock());
        count(&mut phases, &self.sent);
        let operation =
            Operation { user: self.user.clone(), asked, began, phases, ended, outcome: outcome.clone() };
        self.recorder.lock().push(operation);
        Ok(outcome)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Phase>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was sent so far belongs to the last phase.
fn count(phases: &mut [Phase], sent: &Sent) {
    let sent = sent.take();
    if let Some(last) = phases.last_mut() {
        last.sent += sent;
    }
}

const fn step(progress: Progress) -> Option<Step> {
    match progress {
        Progress::Register1 => Some(Step::Register1),
        Progress::Register2 => Some(Step::Register2),
        Progress::Recover1 => Some(Step::Recover1),
        Progress::Recover2 => Some(Step::Recover2),
        Progress::Recover3 => Some(Step::Recover3),
        Progress::Delete => Some(Step::Delete),
        _ => None,
    }
}

fn recovered(result: Result<UserSecret, sdk::Error>) -> Outcome {
    match result {
        Ok(secret) => Outcome::Secret(String::from_utf8_lossy(secret.as_bytes()).into_owned()),
        Err(error) => match error.kind {
            ErrorKind::InvalidPin { guesses_remaining } => Outcome::Wrong { left: guesses_remaining },
            ErrorKind::NotRegistered => Outcome::NotRegistered,
            _ if error.causes.iter().any(|told| told.cause == Cause::OtherRegistration) => Outcome::Changed,
            _ => failed(&error),
        },
    }
}

fn failed(error: &sdk::Error) -> Outcome {
    let causes = &error.causes;
    match causes.iter().find(|told| !matches!(told.cause, Cause::Transient(_) | Cause::Unsettled)) {
        Some(told) => Outcome::Broken(told.cause.to_string()),
        None => {
            Outcome::Unknown(causes.first().map_or_else(|| error.to_string(), |told| told.cause.to_string()))
        }
    }
}
