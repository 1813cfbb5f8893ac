//! What users do: register, recover with right PINs and wrong ones, delete, and try many PINs at once.

use super::device::{Device, Recorder};
use super::door::Doors;
use super::history::{Asked, Outcome};
use crate::Error;
use futures::future::{join_all, try_join};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// After a user has done this many things, another one comes: the history of each is searched by itself.
const ACTIONS: usize = 24;
const STORM: std::ops::Range<usize> = 6..13;

/// A user who is there at the end, and with which PIN.
pub(super) struct Left {
    pub(super) user: String,
    pub(super) pin: String,
    /// How many storms of guesses there were.
    pub(super) storms: usize,
}

/// One user after another, until it is enough.
pub(super) struct Users {
    pub(super) doors: Doors,
    pub(super) recorder: Recorder,
    pub(super) number: usize,
    pub(super) seed: u64,
}

/// What a user is about to do.
enum Action {
    Register,
    Recover,
    Mistype,
    Delete,
    /// Registers on one device while another recovers.
    Both,
    /// Two devices recover at once.
    Twice,
    Storm,
}

impl Users {
    /// Lives until `enough`, and returns who was there last.
    pub(super) async fn live(self, enough: watch::Receiver<bool>) -> Result<Left, Error> {
        let mut rng =
            StdRng::seed_from_u64(self.seed ^ (self.number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut generation, mut storms) = (0, 0);
        loop {
            generation += 1;
            let user = format!("user-{}-{generation}", self.number);
            let mut life = Life::new(&self, user, &mut rng);
            for _ in 0..ACTIONS {
                life.act().await?;
                if *enough.borrow() {
                    return Ok(Left { storms: storms + life.storms, user: life.user, pin: life.pin });
                }
                let pause = Duration::from_millis(life.rng.random_range(0..200));
                sleep(pause).await;
            }
            storms += life.storms;
        }
    }
}

struct Life<'a> {
    users: &'a Users,
    user: String,
    rng: &'a mut StdRng,
    devices: [Device; 2],
    /// The PIN of the newest registration that was tried.
    pin: String,
    secrets: usize,
    storms: usize,
}

impl<'a> Life<'a> {
    fn new(users: &'a Users, user: String, rng: &'a mut StdRng) -> Self {
        let devices = [0, 1].map(|_| Device::new(&users.doors, &user, &users.recorder));
        Self { users, user, rng, devices, pin: String::new(), secrets: 0, storms: 0 }
    }

    async fn act(&mut self) -> Result<(), Error> {
        match self.choose() {
            Action::Register => {
                let asked = self.registration();
                self.devices[0].perform(asked).await?;
            }
            Action::Recover => {
                let device = self.rng.random_range(0..2);
                let told = self.devices[device].perform(self.right()).await?;
                // Locked out, or gone: there is little to do except register.
                if matches!(told, Outcome::Wrong { left: 0 } | Outcome::NotRegistered) {
                    self.pin.clear();
                }
            }
            Action::Mistype => {
                let asked = self.wrong();
                self.devices[0].perform(asked).await?;
            }
            Action::Delete => {
                self.devices[0].perform(Asked::Delete).await?;
            }
            Action::Both => {
                let recovery = self.right();
                let registration = self.registration();
                let [one, other] = &self.devices;
                try_join(one.perform(registration), other.perform(recovery)).await?;
            }
            Action::Twice => {
                let (right, other) =
                    (self.right(), if self.rng.random_bool(0.5) { self.right() } else { self.wrong() });
                try_join(self.devices[0].perform(right), self.devices[1].perform(other)).await?;
            }
            Action::Storm => self.storm().await?,
        }
        Ok(())
    }

    fn choose(&mut self) -> Action {
        if self.pin.is_empty() {
            return Action::Register;
        }
        match self.rng.random_range(0..100) {
            0..8 => Action::Register,
            8..55 => Action::Recover,
            55..75 => Action::Mistype,
            75..81 => Action::Delete,
            81..86 => Action::Both,
            86..94 => Action::Twice,
            _ => Action::Storm,
        }
    }

    fn registration(&mut self) -> Asked {
        self.secrets += 1;
        self.pin = format!("{:04}", self.rng.random_range(0..10_000));
        let secret = format!("{} secret {}", self.user, self.secrets);
        Asked::Register { pin: self.pin.clone(), secret, guesses: self.rng.random_range(1..7) }
    }

    fn right(&self) -> Asked {
        Asked::Recover { pin: self.pin.clone() }
    }

    fn wrong(&mut self) -> Asked {
        // Five digits: never another registration's.
        Asked::Recover { pin: format!("{:05}", self.rng.random_range(0..100_000)) }
    }

    /// Many guesses at once, each from its own device; the right PIN is among them now and then.
    async fn storm(&mut self) -> Result<(), Error> {
        self.storms += 1;
        let guesses = self.rng.random_range(STORM);
        let right = self.rng.random_bool(0.3);
        let mut asked: Vec<_> = (0..guesses).map(|_| self.wrong()).collect();
        if right {
            asked.push(self.right());
        }
        let devices: Vec<_> =
            asked.iter().map(|_| Device::new(&self.users.doors, &self.user, &self.users.recorder)).collect();
        let all = join_all(devices.iter().zip(asked).map(|(device, asked)| device.perform(asked))).await;
        all.into_iter().try_for_each(|outcome| outcome.map(drop))
    }
}
