//! The agent's side.

use super::report::{copying_to_wire, group_to_wire};
use crate::grpc::peer::admin_server::{Admin, AdminServer};
use crate::grpc::peer::{
    CertifyReply, CertifyRequest, DivideRequest, FoundingReply, FoundingRequest, InviteRequest, Left,
    MoveReply, MoveRequest, OwnsReply, PeersReply, PeersRequest, RetireReply, RetireRequest, SetupReply,
    SetupRequest, StatementReply, StatementRequest, StatusReply, StatusRequest,
};
use crate::hub::{End, Hub, MoveError, OrderError, VERSION, Wanted};
use crate::peers::MAX_HOURS;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm;
use strongroom_proto::ids::{Digest, GroupId, HsmId, RealmId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::{ReadOutcome, ask};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

/// How long a status waits for the HSM before it reports what was last known.
const HSM_PATIENCE: Duration = Duration::from_millis(500);

/// The service that an operator's command calls.
pub(crate) struct AdminService {
    hub: Arc<Hub>,
    at_socket: bool,
}

impl AdminService {
    /// For anyone who can open the admin socket.
    pub(crate) fn at_socket(hub: Arc<Hub>) -> AdminServer<Self> {
        AdminServer::new(Self { hub, at_socket: true })
    }

    /// For anyone with an operator's certificate: see [`crate::peers::operators_only`].
    pub(crate) fn from_afar(hub: Arc<Hub>) -> AdminServer<Self> {
        AdminServer::new(Self { hub, at_socket: false })
    }

    fn realm(&self) -> Result<RealmId, Status> {
        let realm = self.hub.device().and_then(|device| device.realm).map(|realm| realm.realm);
        realm.ok_or_else(|| Status::failed_precondition("the HSM has no realm yet"))
    }
}

/// What was read in the store; nothing if nothing is there.
fn stored(read: ReadOutcome) -> Result<Vec<u8>, Status> {
    match read {
        ReadOutcome::Found(bytes) => Ok(bytes),
        ReadOutcome::Absent => Ok(Vec::new()),
        ReadOutcome::Unavailable => {
            Err(Status::resource_exhausted("the object store does not answer the agent"))
        }
    }
}

/// Whether an operator may ask the HSM this. Everything else is for the replicas, and would only disturb them.
fn is_setup(request: &hsm::Request, device: Option<&hsm::DeviceStatus>) -> bool {
    match request {
        // For entries that are already captured, the reply only says whether they are authentic.
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
        | hsm::Request::Commit { .. }
        | hsm::Request::Fresh(..)
        | hsm::Request::DrawReadNonce(_)
        | hsm::Request::Confirm { .. }
        | hsm::Request::Change(..)
        | hsm::Request::Leave(..)
        | hsm::Request::ExtendHead { .. }
        | hsm::Request::SignHead { .. }
        | hsm::Request::Tell { .. }
        | hsm::Request::AgentSecret(_) => false,
    }
}

impl Hub {
    /// What this agent knows about itself and its groups, without the keys that its HSM gave it.
    pub(crate) async fn status(&self) -> StatusReply {
        let asked = timeout(HSM_PATIENCE, self.ask_hsm(ask::Status)).await;
        let (device, hsm_answers) = match asked {
            Ok(Ok(device)) => (Some(device), true),
            _ => (self.device(), false),
        };
        let device = device.map(without_key);
        let device = device.and_then(|device| minicbor::to_vec(device).ok()).unwrap_or_default();
        let groups = self.groups().into_iter();
        let groups = groups
            .map(|(group, status)| group_to_wire(group, status, self.tree_damage(&group), self.load(&group)));
        let store = self.store_trouble().unwrap_or_default();
        let (unready, store_broken) = (self.trust().why_not().unwrap_or_default(), self.trust().is_refused());
        let relays = self.relay().map(|relay| relay.words()).unwrap_or_default();
        StatusReply {
            device: device.into(),
            groups: groups.collect(),
            hsm_answers,
            store,
            unready,
            store_broken,
            relays,
            version: VERSION.into(),
            copying: self.copying().into_iter().map(copying_to_wire).collect(),
        }
    }

    /// Passes a request to the HSM, if the caller may make it.
    pub(crate) async fn set_up(&self, request: hsm::Request) -> Result<SetupReply, Status> {
        let changes = !matches!(request, hsm::Request::DeviceStatus | hsm::Request::Capture(..));
        let reply = self.pass_to_hsm(request).await.ok_or_else(|| {
            Status::unknown(if changes {
                "the HSM did not answer, but may have done it; look with `hsm status`"
            } else {
                "the HSM does not answer; start it, and see that `hsm` in agent.toml is its address"
            })
        })?;
        if changes {
            // The next step may need the other agents: they must know this one by the time the caller has its answer.
            if self.refresh().await.is_ok() {
                let _ = self.identify().await;
            }
            self.wake();
        }
        let reply = match reply {
            hsm::Reply::Device(device) => hsm::Reply::Device(without_key(device)),
            reply => reply,
        };
        let reply =
            minicbor::to_vec(&reply).map_err(|_| Status::internal("a reply that cannot be encoded"))?;
        Ok(SetupReply { reply: reply.into() })
    }
}

/// What others may see of a device: everything except the key that turns users' names into record ids.
fn without_key(mut device: hsm::DeviceStatus) -> hsm::DeviceStatus {
    if let Some(realm) = &mut device.realm {
        realm.record_id_key = Digest([0; 32]);
    }
    device
}

fn group_id(bytes: &[u8]) -> Result<GroupId, Status> {
    let id = bytes.try_into().map(GroupId);
    id.map_err(|_| Status::invalid_argument("a group id is 16 bytes"))
}

fn prefix_of(bytes: &[u8]) -> Result<Prefix, Status> {
    minicbor::decode(bytes).map_err(|_| Status::invalid_argument("not a prefix"))
}

fn failed(error: &dyn std::error::Error) -> Status {
    Status::failed_precondition(error.to_string())
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn setup(&self, request: Request<SetupRequest>) -> Result<Response<SetupReply>, Status> {
        let request: hsm::Request = minicbor::decode(&request.get_ref().request).map_err(|_| {
            Status::invalid_argument("not an HSM request; check that command and agent match")
        })?;
        if matches!(request, hsm::Request::Capture(..)) {
            // What the HSM has captured may have moved on. If it does not answer, the request will show that.
            let _ = self.hub.refresh().await;
        }
        if !is_setup(&request, self.hub.device().as_ref()) {
            return Err(Status::permission_denied("only the agent itself may ask this of its HSM"));
        }
        self.hub.set_up(request).await.map(Response::new)
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.hub.status().await))
    }

    async fn peers(&self, _: Request<PeersRequest>) -> Result<Response<PeersReply>, Status> {
        let (peers, others) = self.hub.peers().statuses().await;
        Ok(Response::new(PeersReply { peers, others }))
    }

    async fn invite(&self, request: Request<InviteRequest>) -> Result<Response<SetupReply>, Status> {
        let request = request.into_inner();
        let to = request.to.as_ref().try_into().map(HsmId);
        let to = to.map_err(|_| Status::invalid_argument("`to` is the 16 bytes of an HSM id"))?;
        let reply = self.hub.peers().invite(to, request).await;
        reply.unwrap_or_else(|| Err(Status::not_found("no peer with that HSM"))).map(Response::new)
    }

    async fn founding(&self, _: Request<FoundingRequest>) -> Result<Response<FoundingReply>, Status> {
        let founding = stored(self.hub.founding(self.realm()?).await)?.into();
        Ok(Response::new(FoundingReply { founding }))
    }

    async fn statement(&self, _: Request<StatementRequest>) -> Result<Response<StatementReply>, Status> {
        let statement = stored(self.hub.statement(self.realm()?).await)?.into();
        Ok(Response::new(StatementReply { statement }))
    }

    async fn retire(&self, request: Request<RetireRequest>) -> Result<Response<RetireReply>, Status> {
        let group = group_id(&request.get_ref().group)?;
        let members = self.hub.retire(group).await.map_err(|error| failed(&error))?;
        let left = |(hsm, why): (HsmId, Option<String>)| Left {
            hsm: hsm.0.to_vec().into(),
            why: why.unwrap_or_default(),
        };
        Ok(Response::new(RetireReply { members: members.into_iter().map(left).collect() }))
    }

    async fn divide(&self, request: Request<DivideRequest>) -> Result<Response<OwnsReply>, Status> {
        let DivideRequest { group, prefix, merge } = request.into_inner();
        let (group, prefix) = (group_id(&group)?, prefix_of(&prefix)?);
        let wanted = if merge { Wanted::Merge(prefix) } else { Wanted::Split(prefix) };
        let end = self.hub.order(group, &wanted).await.map_err(|error| failed(&error))?;
        let End::Done(shown) = end else { return Err(Status::internal("an answer to something else")) };
        let owns: Vec<Prefix> = shown.entry.partitions.iter().map(|p| p.prefix).collect();
        let prefixes = minicbor::to_vec(owns).map_err(|_| Status::internal("no encoding"))?;
        Ok(Response::new(OwnsReply { prefixes: prefixes.into() }))
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Result<Response<MoveReply>, Status> {
        let MoveRequest { prefix, from, to } = request.into_inner();
        let to = group_id(&to)?;
        let from = if from.is_empty() { None } else { Some(group_id(&from)?) };
        let moved = match from {
            Some(from) if prefix.is_empty() => self.hub.move_all_on(from, to).await,
            _ => self.hub.move_on(prefix_of(&prefix)?, from, to).await,
        };
        match moved {
            Ok((done, over)) => Ok(Response::new(MoveReply { done, over })),
            // Something was decided meanwhile; what both groups show by now says how to go on.
            Err(MoveError::Order(error @ (OrderError::Unknown | OrderError::Refused { .. }))) => {
                Err(Status::aborted(error.to_string()))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyReply>, Status> {
        if !self.at_socket {
            // Access would never expire if one certificate could obtain the next.
            return Err(Status::permission_denied(
                "certificates are issued at the agent's admin socket only",
            ));
        }
        let hours = request.into_inner().hours;
        if !(1..=MAX_HOURS).contains(&hours) {
            return Err(Status::invalid_argument("a certificate is good for 1 to 24 hours"));
        }
        let pem = self.hub.certify(hours).await;
        let mut pem = pem.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(CertifyReply { pem: std::mem::take(&mut *pem) }))
    }
}
