//! The realm that every episode of a search begins with: made once, by the protocol as it is, and kept as the contents
//! of the HSMs' flashes. The oracle misses nothing because of that: an episode begins with five restarts.

use super::clients::Clients;
use super::keys::{RealmKeys, device_key};
use super::parts::{DEVICES, MAX_PENDING_ENTRIES, MAX_PENDING_REPLIES, MEMBERS, Planted};
use ed25519_dalek::SigningKey;
use strongroom_hsm::Config;
use strongroom_proto::hsm::{DeviceStatus, RealmStatus};
use strongroom_proto::ids::{HsmId, Nonce};
use strongroom_testkit::founding::{approval, enrol, export, make_realm};
use strongroom_testkit::{Bug, Custodians, Device, Hsm, MemoryFlash, Tape};

/// The device key of the oracle.
const ORACLE_SECRET: [u8; 32] = [0x0c; 32];
const ORACLE: HsmId = HsmId([0x0c; 16]);

/// A realm whose first HSM has yet to make its first group.
pub(super) struct Founding {
    pub(super) seed: u64,
    pub(super) planted: Planted,
    pub(super) realm: RealmStatus,
    pub(super) statuses: Vec<DeviceStatus>,
    /// The first is the host's, the other two are honest.
    pub(super) custodians: Vec<SigningKey>,
    pub(super) clients: Clients,
    /// Only for the oracle.
    pub(super) keys: RealmKeys,
    flashes: Vec<(MemoryFlash, Option<Tape>)>,
    config: Config,
}

impl Founding {
    /// Makes a realm in the first HSM, and enrols the oracle and all HSMs except the last.
    pub(super) fn new(seed: u64, planted: Planted) -> Self {
        let device = |i| {
            Device::with_bugs(seed.wrapping_mul(31).wrapping_add(i), config(), planted.into_iter().collect())
        };
        Self::make(seed, planted, config(), device)
    }

    /// The same with HSMs that are like boards, for boards to repeat what happens to them.
    pub(super) fn on_tape(seed: u64, config: Config) -> Self {
        let device = |i| Device::on_tape(seed.wrapping_mul(31).wrapping_add(i), config.clone());
        Self::make(seed, None, config.clone(), device)
    }

    fn make(seed: u64, planted: Planted, config: Config, device: impl Fn(u64) -> Device) -> Self {
        let mut devices: Vec<Device> = (0..DEVICES as u64).map(device).collect();
        let custodians = Custodians::two_of_three([1, 2]);
        let first = make_realm(&mut devices[0], custodians.policy());
        let realm = first.realm.clone().expect("it has one now");
        let (exporter, others) = devices.split_first_mut().expect("there are several");
        for importer in &mut others[..MEMBERS - 1] {
            enrol(exporter, &first, importer, &custodians);
        }
        let oracle = DeviceStatus { hsm: ORACLE, device_key: device_key(&ORACLE_SECRET), ..first.clone() };
        let approval = approval(exporter, &first, oracle.request(Nonce([0; 16])));
        let sealed = export(exporter, approval, &custodians);
        let keys = RealmKeys::import(&ORACLE_SECRET, ORACLE, &sealed).expect("sealed for the oracle");
        let clients = Clients::new(seed, &realm);
        let statuses = devices.iter_mut().map(Hsm::status).collect();
        let flashes = devices.into_iter().map(Device::into_flash).collect();
        Self { seed, planted, realm, statuses, custodians: custodians.keys, clients, keys, flashes, config }
    }

    /// The HSMs, started from what their flashes hold.
    pub(super) fn devices(&self) -> Vec<Device> {
        let broken = self.broken();
        let start = |(i, (flash, tape)): (usize, &(MemoryFlash, Option<Tape>))| {
            let seed = self.seed.wrapping_mul(31).wrapping_add(i as u64) ^ 0xe915_0de5;
            match tape {
                Some(tape) => Device::resume(flash.clone(), tape.clone(), self.config.clone()),
                None => {
                    let mut planted: Vec<_> = self.planted.into_iter().collect();
                    planted.extend(broken.filter(|(at, _)| *at == i).map(|(_, bug)| bug));
                    Device::on(flash.clone(), seed, self.config.clone(), planted)
                }
            }
        };
        self.flashes.iter().enumerate().map(start).collect()
    }

    /// An HSM that states what it likes. It takes another bug before a stranger can state anything about a group.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn broken(&self) -> Option<(usize, Bug)> {
        let strange = matches!(self.planted, Some(Bug::CountStrangers | Bug::JumpByStranger));
        strange.then_some((MEMBERS - 1, Bug::JoinAnyMembers))
    }

    /// An HSM that states what it likes: none, if no bug can be planted.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same with and without the feature")]
    pub(super) const fn broken(&self) -> Option<(usize, Bug)> {
        None
    }
}

fn config() -> Config {
    let mut config = Config::software();
    config.limits.max_pending_entries = MAX_PENDING_ENTRIES;
    config.limits.max_pending_replies = MAX_PENDING_REPLIES;
    // More than two users can fill, but fewer than three can; and room for each to have guessed.
    config.limits.max_sessions = 8;
    config
}
