//! What telling needs of an HSM.

use strongroom_proto::entry::Entry;
use strongroom_proto::events::{Settled, Telling};
use strongroom_replica::ask::{Told, Unanswered};

/// An HSM that tells.
pub trait Tells {
    /// What [`strongroom_proto::hsm::Request::Tell`] asks.
    fn tell(
        &self,
        settled: Settled,
        entries: Vec<Entry>,
        telling: Option<Telling>,
    ) -> impl Future<Output = Result<Told, Unanswered>> + Send;
}
