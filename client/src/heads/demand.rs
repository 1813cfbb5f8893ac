//! What an application demands of a realm's log, and the rules that hold once there is a [`HeadDemand`].

use std::time::Duration;

use strongroom_proto::ids::RealmId;
use strongroom_tlog::{Note, RealmStatement};

use crate::configuration::Configuration;

/// How far witnesses' clocks may be ahead of the device's.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why a demand cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// It is no statement that its custodians have signed. Says how.
    #[error("the statement cannot be used: {0}")]
    Statement(String),
    /// It asks for no cosignatures, and nothing else says how old a checkpoint is.
    #[error(
        "the statement asks for no cosignatures of witnesses, so nothing says how old a checkpoint is; ask the realm's \
             custodians for one that does"
    )]
    NoCosignatures,
    /// No configuration has its realm.
    #[error(
        "the statement is of realm {realm}, which no configuration has; give the statement of one that it has"
    )]
    OtherRealm {
        /// The realm.
        realm: RealmId,
    },
    /// A configuration has another public key for its realm, or none.
    #[error(
        "the statement names another public key for realm {realm} than the configuration; one of the two is false"
    )]
    OtherKey {
        /// The realm.
        realm: RealmId,
    },
    /// There are two for one realm.
    #[error("there are two statements of realm {realm}; give the one with the higher version")]
    Twice {
        /// The realm.
        realm: RealmId,
    },
}

/// What is demanded of one realm before a guess is spent there: a checkpoint of the log that has the user's record, cosigned by as
/// many of the witnesses as the realm's statement says, none of these cosignatures older than a bound.
///
/// Holding one proves that enough custodians have signed the statement, of those *that it names*. Whether they are the right people
/// is for whoever builds the application: it comes with the statement as with the configuration, and is trusted like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadDemand {
    pub(super) statement: RealmStatement,
    pub(super) max_age: Duration,
}

impl HeadDemand {
    /// A demand by a realm's statement, a note as its custodians signed it. Agents ask witnesses again every five minutes, so a
    /// `max_age` below ten turns away realms that are well.
    ///
    /// # Errors
    ///
    /// [`DemandError::Statement`], [`DemandError::NoCosignatures`].
    pub fn new(statement: &str, max_age: Duration) -> Result<Self, DemandError> {
        let unusable = |error: &dyn std::fmt::Display| DemandError::Statement(error.to_string());
        let note = Note::parse(statement.as_bytes()).map_err(|error| unusable(&error))?;
        let statement = RealmStatement::verify(&note).map_err(|error| unusable(&error))?;
        if statement.cosignatures == 0 {
            Err(DemandError::NoCosignatures)
        } else {
            Ok(Self { statement, max_age })
        }
    }

    /// The realm.
    #[must_use]
    pub const fn realm(&self) -> RealmId {
        self.statement.realm
    }

    /// Which statement of this realm it is: of two, the one with the higher number counts.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.statement.version
    }

    /// That the realm is in one of these configurations, and in each of those with the key in the statement.
    fn fits(&self, configurations: &[&Configuration]) -> Result<(), DemandError> {
        let realm = self.realm();
        let mut found = configurations
            .iter()
            .flat_map(|configuration| configuration.realms())
            .filter(|configured| configured.id() == realm)
            .peekable();
        if found.peek().is_none() {
            return Err(DemandError::OtherRealm { realm });
        }
        let same = found.all(|configured| configured.public_key() == Some(&self.statement.noise_key));
        if same { Ok(()) } else { Err(DemandError::OtherKey { realm }) }
    }
}

/// That all of these can be demanded of the realms of these configurations.
pub(crate) fn check(demands: &[HeadDemand], configurations: &[&Configuration]) -> Result<(), DemandError> {
    for (place, demand) in demands.iter().enumerate() {
        demand.fits(configurations)?;
        if demands[..place].iter().any(|other| other.realm() == demand.realm()) {
            return Err(DemandError::Twice { realm: demand.realm() });
        }
    }
    Ok(())
}
