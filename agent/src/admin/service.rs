//! The agent's side.

use super::report::group_to_wire;
use crate::agent::Core;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::grpc::peer::admin_server::{Admin, AdminServer};
use strongroom_proto::grpc::peer::{
    PeersReply, PeersRequest, SetupReply, SetupRequest, StatusReply, StatusRequest,
};
use strongroom_proto::hsm;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

/// How long a status waits for the HSM before it tells what was last known.
const HSM_PATIENCE: Duration = Duration::from_millis(500);

/// The service that an operator's command calls.
pub(crate) struct AdminService(Arc<Core>);

impl AdminService {
    pub(crate) fn server(core: Arc<Core>) -> AdminServer<Self> {
        AdminServer::new(Self(core))
    }
}

/// Whether an operator may ask this of the HSM. The rest is the replicas' alone: in between them it would only harm.
fn is_setup(request: &hsm::Request, device: Option<&hsm::DeviceStatus>) -> bool {
    match request {
        // Of what is captured already, it only says whether it is authentic.
        hsm::Request::Capture(groups) => groups.iter().all(|wanted| {
            let known = device.iter().flat_map(|device| &device.groups);
            let mut known = known.filter(|of| of.statement.group == wanted.group);
            let captured = known.next().map(|of| of.captured_index);
            captured.is_some_and(|captured| wanted.entries.iter().all(|entry| entry.index <= captured))
        }),
        hsm::Request::DeviceStatus
        | hsm::Request::NewRealm(_)
        | hsm::Request::ExportNonce
        | hsm::Request::ImportNonce
        | hsm::Request::ExportRealm(..)
        | hsm::Request::JoinRealm(_)
        | hsm::Request::NewGroup(_)
        | hsm::Request::JoinGroup(_) => true,
        hsm::Request::Jump(..)
        | hsm::Request::Lead(..)
        | hsm::Request::StepDown(_)
        | hsm::Request::Handshake(..)
        | hsm::Request::Process { .. }
        | hsm::Request::Commit { .. } => false,
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn setup(&self, request: Request<SetupRequest>) -> Result<Response<SetupReply>, Status> {
        let request: hsm::Request = minicbor::decode(&request.get_ref().request).map_err(|_| {
            Status::invalid_argument("not an HSM request; check that command and agent match")
        })?;
        if matches!(request, hsm::Request::Capture(..)) {
            // What the HSM has captured may have moved on; where it does not answer, the request will tell.
            let _ = self.0.refresh().await;
        }
        if !is_setup(&request, self.0.device().as_ref()) {
            return Err(Status::permission_denied("only the agent itself may ask this of its HSM"));
        }
        let changes = !matches!(request, hsm::Request::DeviceStatus | hsm::Request::Capture(..));
        let reply = self.0.call_hsm(request).await.ok_or_else(|| {
            Status::unknown(if changes {
                "the HSM did not answer, and may have done it all the same; look with `hsm status`"
            } else {
                "the HSM does not answer; start it, and see that `hsm` in agent.toml is its address"
            })
        })?;
        if changes {
            self.0.wake();
        }
        let reply =
            minicbor::to_vec(&reply).map_err(|_| Status::internal("a reply that cannot be encoded"))?;
        Ok(Response::new(SetupReply { reply: reply.into() }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let asked = timeout(HSM_PATIENCE, self.0.call_hsm(hsm::Request::DeviceStatus)).await;
        let (device, hsm_answers) = match asked {
            Ok(Some(hsm::Reply::Device(device))) => (Some(device), true),
            _ => (self.0.device(), false),
        };
        let device = device.and_then(|device| minicbor::to_vec(device).ok()).unwrap_or_default();
        let groups =
            self.0.groups().into_iter().map(|(group, status)| group_to_wire(group, status)).collect();
        Ok(Response::new(StatusReply { device: device.into(), groups, hsm_answers }))
    }

    async fn peers(&self, _: Request<PeersRequest>) -> Result<Response<PeersReply>, Status> {
        Ok(Response::new(PeersReply { peers: self.0.peers().statuses().await }))
    }
}
