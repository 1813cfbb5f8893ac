//! The names of requests as people read them.

use strongroom_proto::hsm::Request;

/// The kind of a request.
#[must_use]
pub const fn request_name(request: &Request) -> &'static str {
    match request {
        Request::DeviceStatus => "DeviceStatus",
        Request::NewRealm(_) => "NewRealm",
        Request::ExportNonce => "ExportNonce",
        Request::ImportNonce => "ImportNonce",
        Request::ExportRealm(..) => "ExportRealm",
        Request::JoinRealm(_) => "JoinRealm",
        Request::NewGroup(_) => "NewGroup",
        Request::JoinGroup(_) => "JoinGroup",
        Request::Capture(..) => "Capture",
        Request::Jump(..) => "Jump",
        Request::Lead(..) => "Lead",
        Request::StepDown(_) => "StepDown",
        Request::Handshake(..) => "Handshake",
        Request::Process { .. } => "Process",
        Request::Commit { .. } => "Commit",
        Request::Fresh(..) => "Fresh",
        Request::DrawReadNonce(_) => "DrawReadNonce",
        Request::Confirm { .. } => "Confirm",
        Request::AgentSecret(_) => "AgentSecret",
        Request::Change(..) => "Change",
        Request::Leave(..) => "Leave",
        Request::ExtendHead { .. } => "ExtendHead",
        Request::SignHead { .. } => "SignHead",
        Request::Tell { .. } => "Tell",
    }
}
