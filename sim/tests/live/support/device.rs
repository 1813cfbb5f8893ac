//! An HSM whose realm keys and draws are those of the vectors, and whose records the test can read.

use std::path::Path;
use std::sync::{Arc, Mutex};
use strongroom_hsm::Config;
use strongroom_hsm_planted::{Bug, PlantedCore, Revealed};
use strongroom_hsm_software::FileFlash;
use strongroom_proto::hsm::{Reply, Request};
use strongroom_proto::ids::{RealmId, RecordId};
use strongroom_testkit::{Scripted, TestEnv};

/// The device.
pub(crate) struct Device {
    core: PlantedCore,
    env: TestEnv<FileFlash, Scripted>,
    realm: RealmId,
    noise_secret: [u8; 32],
    /// The record that was sealed last.
    leaf: Option<(RecordId, Vec<u8>)>,
}

/// The device, between the thread that serves it and the test.
pub(crate) type Shared = Arc<Mutex<Device>>;

impl Device {
    /// A new device. The realm that it makes gets this id and Noise key.
    pub(crate) fn new(nvram: &Path, realm: RealmId, noise_secret: [u8; 32]) -> Shared {
        let mut env = TestEnv::new(FileFlash::open(nvram).expect("a new file"), Scripted::seeded(1));
        let core = PlantedCore::start(&mut env, Config::software(), [Bug::NonceAsDrawn]).expect("a new file");
        Arc::new(Mutex::new(Self { core, env, realm, noise_secret, leaf: None }))
    }

    /// Has the next draw of 32 bytes be this one.
    pub(crate) fn script(&mut self, draw: [u8; 32]) {
        self.env.rng.script.push_back(draw.into());
    }

    /// Whether all scripted draws were made.
    pub(crate) fn is_drawn(&self) -> bool {
        self.env.rng.script.is_empty()
    }

    /// The only user's record.
    pub(crate) fn record(&self) -> Revealed {
        let Some((record, sealed)) = &self.leaf else { return Revealed::NotRegistered };
        self.core.reveal(record, sealed).expect("it was sealed here")
    }

    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = self.core.handle(&mut self.env, request);
        match minicbor::decode(request) {
            Ok(Request::NewRealm(_)) => {
                self.core.impersonate(self.realm, &self.noise_secret);
                let status = minicbor::to_vec(Request::DeviceStatus).expect("encodes");
                return self.core.handle(&mut self.env, &status);
            }
            Ok(Request::Process { .. }) => self.remember(&reply),
            _ => {}
        }
        reply
    }

    fn remember(&mut self, reply: &[u8]) {
        let Ok(Reply::Processed { made: Some(made), .. }) = minicbor::decode(reply) else { return };
        for leaf in made.leaves {
            let known = self.leaf.as_ref().is_none_or(|(record, _)| *record == leaf.record);
            assert!(known, "the vectors have one user");
            self.leaf = Some((leaf.record, leaf.sealed.to_vec()));
        }
    }
}

/// What a server calls with the bytes of each request.
pub(crate) fn handler(device: &Shared) -> impl FnMut(&[u8]) -> Vec<u8> + Send + use<> {
    let device = Arc::clone(device);
    move |request| device.lock().expect("no panic").handle(request)
}
