//! The kinds of requests that there are.

use strongroom_proto::hsm::Request;

/// Which of the twenty-four requests it is. A new one does not compile until it is among those that are tried too.
pub(super) const fn kind(request: &Request) -> usize {
    match request {
        Request::DeviceStatus => 0,
        Request::NewRealm(_) => 1,
        Request::ExportNonce => 2,
        Request::ExportRealm(..) => 3,
        Request::JoinRealm(_) => 4,
        Request::NewGroup(_) => 5,
        Request::JoinGroup(_) => 6,
        Request::Capture(..) => 7,
        Request::Jump(..) => 8,
        Request::Lead(..) => 9,
        Request::StepDown(_) => 10,
        Request::Handshake(..) => 11,
        Request::Process { .. } => 12,
        Request::Commit { .. } => 13,
        Request::AgentSecret(_) => 14,
        Request::ImportNonce => 15,
        Request::Fresh(..) => 16,
        Request::DrawReadNonce(_) => 17,
        Request::Confirm { .. } => 18,
        Request::Change(..) => 19,
        Request::Leave(..) => 20,
        Request::ExtendHead { .. } => 21,
        Request::SignHead { .. } => 22,
        Request::Tell { .. } => 23,
    }
}
