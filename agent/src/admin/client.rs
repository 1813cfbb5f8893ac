//! The operator's side.

use super::report::{AgentReport, PeerReport};
use crate::causes::causes;
use crate::grpc::peer::admin_client::AdminClient;
use crate::grpc::peer::{
    CertifyRequest, DivideRequest, FoundingRequest, InviteRequest, Left, MoveReply, MoveRequest,
    PeersRequest, RetireRequest, SetupReply, SetupRequest, StatementRequest, StatusRequest,
};
use crate::peers::{PeerUrl, Timeouts, endpoint, tls};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::enrolment::EnrolmentRequest;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    CustodianSignature, DeviceStatus, ExportApproval, RealmPolicy, Refusal, SealedRealm,
};
use strongroom_proto::ids::{GroupId, HsmId, RealmId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{GroupStatement, MemberStatement};
use strongroom_replica::ask::{self, Ask, Asked, Unanswered, read};
use tokio::net::UnixStream;
use tonic::transport::Channel;
use tower::service_fn;
use zeroize::Zeroizing;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why something was not set up.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The agent does not run.
    #[error("cannot reach the agent at {0}; start it with `strongroom-agent --config FILE`")]
    Unreachable(String),
    /// The agent's socket exists, but this user may not open it.
    #[error(
        "not allowed to open the agent's socket {socket}: {whose}; run this as the user that runs the agent"
    )]
    NotAllowed {
        /// The socket.
        socket: String,
        /// Who owns it, and who asks.
        whose: String,
    },
    /// The agent does not run, or does not accept the certificate.
    #[error(
        "cannot reach the agent at {address}: {why}; check that it runs, that its HSM has a realm, and that the certificate \
         is of that realm, has not expired, and is not from before `peer_epoch` was raised"
    )]
    UnreachableFromAfar {
        /// Its address.
        address: String,
        /// What failed.
        why: String,
    },
    /// The agent answered that it cannot do this.
    #[error("{0}")]
    Agent(String),
    /// The HSM refused.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// An answer that does not fit the question.
    #[error("the agent's answer makes no sense; check that this command and the agent have the same version")]
    Unexpected,
    /// The HSM has no realm, and needs one for this.
    #[error("the HSM has no realm yet; make one with `realm create`, or join one with `hsm request`")]
    NoRealm,
    /// The realm's first group, which owns all users, must still be made at another HSM.
    #[error(
        "the realm's first group owns all users, and only HSM {0}, where the realm was made, can make it: run `group create` at \
         its agent first"
    )]
    FirstGroupElsewhere(HsmId),
    /// A member of the group to be made was not found.
    #[error(
        "no agent with HSM {0} in this realm can be reached; start it, and list it in `peers` of this agent"
    )]
    NoSuchMember(HsmId),
}

/// A connection to an agent.
#[derive(Clone)]
pub struct Client {
    address: String,
    admin: AdminClient<Channel>,
    /// For what may take long.
    patient: AdminClient<Channel>,
}

/// A group that was made.
#[derive(Debug)]
pub struct CreatedGroup {
    /// Its statement: what every member joins with.
    pub statement: GroupStatement,
    /// Members that have not joined, and why. Have them join with the statement.
    pub missing: Vec<(HsmId, AdminError)>,
}

/// A group that is to be made, or exists already.
#[derive(Debug)]
pub struct GroupPlan {
    own: HsmId,
    realm: RealmId,
    unassigned: bool,
    members: Vec<HsmId>,
    known: BTreeMap<HsmId, MemberStatement>,
    made: Option<GroupStatement>,
    other: Option<GroupId>,
}

impl GroupPlan {
    /// Whether a group of the same members exists.
    #[must_use]
    pub const fn is_made(&self) -> bool {
        self.made.is_some()
    }

    /// The realm.
    #[must_use]
    pub const fn realm(&self) -> RealmId {
        self.realm
    }

    /// The HSM of the agent that is to make it.
    #[must_use]
    pub const fn own(&self) -> HsmId {
        self.own
    }

    /// Who is to be in it.
    #[must_use]
    pub fn members(&self) -> &[HsmId] {
        &self.members
    }

    /// Whether it is to own the realm's users.
    #[must_use]
    pub const fn owns_users(&self) -> bool {
        self.unassigned
    }

    /// A group that this agent's HSM is in already.
    #[must_use]
    pub const fn other_group(&self) -> Option<GroupId> {
        self.other
    }
}

impl Client {
    /// Connects to the agent whose `admin_socket` this is.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], [`AdminError::NotAllowed`].
    pub async fn connect(socket: &Path) -> Result<Self, AdminError> {
        let (address, path) = (socket.display().to_string(), socket.to_owned());
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let endpoint = endpoint(&Timeouts::default());
        let patient = AdminClient::new(endpoint.connect_with_connector_lazy(connector.clone()));
        let connected = endpoint.timeout(TIMEOUT).connect_with_connector(connector).await;
        let channel = connected.map_err(|error| match is_denied(&error) {
            true => AdminError::NotAllowed { socket: address.clone(), whose: whose(socket) },
            false => AdminError::Unreachable(address.clone()),
        })?;
        Ok(Self { address, admin: AdminClient::new(channel), patient })
    }

    /// Connects to the agent whose `peer_listen` address this is, with an operator's certificate, as
    /// [`crate::peers::open_operator`] reads it.
    ///
    /// # Errors
    /// [`AdminError::UnreachableFromAfar`].
    pub async fn connect_from_afar(
        address: &PeerUrl,
        identity: Arc<ClientConfig>,
    ) -> Result<Self, AdminError> {
        let (to, address) = (address.0.clone(), address.0.to_string());
        let connector = service_fn(move |_| {
            let (to, identity) = (to.clone(), Arc::clone(&identity));
            async move { Ok::<_, std::io::Error>(TokioIo::new(tls(&to, identity).await?)) }
        });
        let unreachable = |why: String| AdminError::UnreachableFromAfar { address: address.clone(), why };
        let endpoint = endpoint(&Timeouts::default());
        let patient = AdminClient::new(endpoint.connect_with_connector_lazy(connector.clone()));
        let connected = endpoint.timeout(TIMEOUT).connect_with_connector(connector).await;
        let mut admin = AdminClient::new(connected.map_err(|error| unreachable(causes(&error)))?);
        // Only an answer shows that the certificate was accepted.
        admin.status(StatusRequest {}).await.map_err(|status| unreachable(causes(&status)))?;
        Ok(Self { address, admin, patient })
    }

    /// A certificate for an operator on another machine, in PEM with its private key, good for 1 to 24 hours.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn certify(&mut self, hours: u32) -> Result<Zeroizing<String>, AdminError> {
        let reply =
            self.admin.certify(CertifyRequest { hours }).await.map_err(|status| self.error(&status))?;
        Ok(Zeroizing::new(reply.into_inner().pem))
    }

    /// What the agent's store holds as the founding of its HSM's realm. By itself that proves nothing.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn founding(&mut self) -> Result<Option<Vec<u8>>, AdminError> {
        let reply = self.admin.founding(FoundingRequest {}).await.map_err(|status| self.error(&status))?;
        let founding = Vec::from(reply.into_inner().founding);
        Ok((!founding.is_empty()).then_some(founding))
    }

    /// What the agent's store holds as the statement of its HSM's realm. By itself that proves nothing.
    ///
    /// # Errors
    /// [`AdminError`]; also if the agent is of a version that knows no statements.
    pub async fn statement(&mut self) -> Result<Option<Vec<u8>>, AdminError> {
        let reply = self.admin.statement(StatementRequest {}).await.map_err(|status| self.error(&status))?;
        let statement = Vec::from(reply.into_inner().statement);
        Ok((!statement.is_empty()).then_some(statement))
    }

    /// What the HSM says about itself.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn device(&mut self) -> Result<DeviceStatus, AdminError> {
        self.setup(ask::Status).await
    }

    /// What the agent says about itself.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn status(&mut self) -> Result<AgentReport, AdminError> {
        let reply = self.admin.status(StatusRequest {}).await.map_err(|status| self.error(&status))?;
        Ok(AgentReport::from_wire(reply.into_inner()))
    }

    /// What every configured peer of the agent says about itself.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn peers(&mut self) -> Result<Vec<PeerReport>, AdminError> {
        let reply = self.admin.peers(PeersRequest {}).await.map_err(|status| self.error(&status))?;
        Ok(reply.into_inner().peers.into_iter().map(PeerReport::from_wire).collect())
    }

    /// What the agent and the other agents of the realm say, put together. One that does not answer is shown as such.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn said(&mut self) -> Result<(AgentReport, Vec<PeerReport>, u32), AdminError> {
        let own = self.status().await?;
        let reply = self.admin.peers(PeersRequest {}).await.map_err(|status| self.error(&status))?;
        let reply = reply.into_inner();
        Ok((own, reply.peers.into_iter().map(PeerReport::from_wire).collect(), reply.others))
    }

    /// Makes a realm in the HSM.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn new_realm(&mut self, policy: RealmPolicy) -> Result<DeviceStatus, AdminError> {
        self.setup(ask::NewRealm(policy)).await
    }

    /// Draws the importer's nonce, and returns the HSM's request to one that has the realm.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn request(&mut self) -> Result<EnrolmentRequest, AdminError> {
        let device = self.device().await?;
        Ok(device.request(self.setup(ask::ImportNonce).await?))
    }

    /// Draws the exporter's nonce, and returns what custodians must sign for the realm to go to the device of
    /// `request`.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn offer(&mut self, request: EnrolmentRequest) -> Result<ExportApproval, AdminError> {
        let device = self.device().await?;
        match self.setup(ask::ExportNonce).await {
            Ok(nonce) => device.offer(nonce, request).ok_or(AdminError::NoRealm),
            Err(AdminError::Refused(Refusal::NoRealm)) => Err(AdminError::NoRealm),
            Err(error) => Err(error),
        }
    }

    /// Exports the realm, sealed to the device that custodians approved.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn export(
        &mut self,
        approval: ExportApproval,
        signatures: Vec<CustodianSignature>,
    ) -> Result<SealedRealm, AdminError> {
        self.setup(ask::ExportRealm(approval, signatures)).await
    }

    /// Has the HSM import a realm that was sealed to it.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn enrol(&mut self, sealed: SealedRealm) -> Result<DeviceStatus, AdminError> {
        self.setup(ask::JoinRealm(sealed)).await
    }

    /// Makes a group of these HSMs, including this agent's, and has every member join it. If this HSM is already in a
    /// group of the same members, uses that one: running this again then brings in the members that were missing.
    ///
    /// # Errors
    /// [`AdminError`]; then no group was made. See also [`CreatedGroup::missing`].
    pub async fn create_group(&mut self, members: &[HsmId]) -> Result<CreatedGroup, AdminError> {
        let plan = self.plan_group(members).await?;
        self.carry_out(plan).await
    }

    /// Finds out what [`Self::create_group`] would make. Changes nothing.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn plan_group(&mut self, members: &[HsmId]) -> Result<GroupPlan, AdminError> {
        let own = self.device().await?;
        let own_realm = own.realm.as_ref().ok_or(AdminError::NoRealm)?;
        let (realm, unassigned) = (own_realm.realm, own_realm.unassigned);
        let mut known: BTreeMap<HsmId, MemberStatement> = BTreeMap::new();
        for PeerReport { agent, .. } in self.peers().await? {
            let device = agent.and_then(|agent| agent.device);
            if let Some(status) =
                device.and_then(|device| device.realm).filter(|status| status.realm == realm)
            {
                if status.unassigned {
                    // A group made here now would never own a user, and would take up the members that the first group
                    // needs.
                    return Err(AdminError::FirstGroupElsewhere(status.member.hsm));
                }
                known.insert(status.member.hsm, status.member);
            }
        }
        if let Some(status) = &own.realm {
            known.insert(own.hsm, status.member);
        }
        // In any order: a group cannot be unmade, and an HSM takes only a few.
        let set = |members: &[HsmId]| members.iter().copied().collect::<BTreeSet<_>>();
        let groups = || own.groups.iter().map(|group| &group.statement);
        let same =
            |group: &&GroupStatement| set(&group.members) == set(members) && (group.genesis || !unassigned);
        let made = groups().find(same).cloned();
        if made.is_none() {
            if set(members).len() != members.len() || !members.contains(&own.hsm) {
                return Err(Refusal::BadMembers.into());
            }
            let fewest = own.realm.as_ref().and_then(|realm| realm.policy.smallest_group).unwrap_or(1);
            if members.len() < usize::from(fewest) {
                return Err(Refusal::TooFewMembers.into());
            }
            if let Some(unknown) = members.iter().find(|hsm| !known.contains_key(hsm)) {
                return Err(AdminError::NoSuchMember(*unknown));
            }
        }
        let other = groups().next().map(|group| group.group);
        Ok(GroupPlan { own: own.hsm, realm, unassigned, members: members.to_vec(), known, made, other })
    }

    /// Makes the group of a plan, and has every member join it.
    ///
    /// # Errors
    /// [`AdminError`]; then no group was made. See also [`CreatedGroup::missing`].
    pub async fn carry_out(&mut self, plan: GroupPlan) -> Result<CreatedGroup, AdminError> {
        let GroupPlan { own, members, known, made, .. } = plan;
        let statement = match made {
            Some(statement) => statement,
            None => {
                let find = |hsm: &HsmId| known.get(hsm).copied().ok_or(AdminError::NoSuchMember(*hsm));
                let statements = members.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                self.setup(ask::NewGroup(statements)).await?
            }
        };
        let mut missing = Vec::new();
        for hsm in statement.members.iter().filter(|hsm| **hsm != own) {
            if !known.contains_key(hsm) {
                missing.push((*hsm, AdminError::NoSuchMember(*hsm)));
            } else if let Err(error) = self.invite(*hsm, &statement).await {
                missing.push((*hsm, error));
            }
        }
        Ok(CreatedGroup { statement, missing })
    }

    /// Has a group own a prefix as its two halves, or, to `merge`, two halves as one. Returns what it owns then.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn divide(
        &mut self,
        group: GroupId,
        prefix: Prefix,
        merge: bool,
    ) -> Result<Vec<Prefix>, AdminError> {
        let request = DivideRequest { group: id(group), prefix: encoded(prefix)?, merge };
        let reply = self.patient.divide(request).await.map_err(|status| self.error(&status))?;
        minicbor::decode(&reply.into_inner().prefixes).map_err(|_| AdminError::Unexpected)
    }

    /// Retires a group that owns nothing, and has its members leave it. Returns every member, with why it has not left, if
    /// it has not.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn retire(&mut self, group: GroupId) -> Result<Vec<(HsmId, Option<String>)>, AdminError> {
        let request = RetireRequest { group: id(group) };
        let reply = self.patient.retire(request).await.map_err(|status| self.error(&status))?;
        let left = |left: Left| {
            let hsm = HsmId(left.hsm.as_ref().try_into().ok()?);
            Some((hsm, Some(left.why).filter(|why| !why.is_empty())))
        };
        Ok(reply.into_inner().members.into_iter().filter_map(left).collect())
    }

    /// Takes the next step of moving a prefix to another group, or, without one, all that `from` owns. Returns what was done, and whether nothing is left to do;
    /// `None` if something came between, and the next step is another one.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn move_on(
        &mut self,
        prefix: Option<Prefix>,
        from: Option<GroupId>,
        to: GroupId,
    ) -> Result<Option<(String, bool)>, AdminError> {
        let from = from.map(id).unwrap_or_default();
        let prefix = prefix.map(encoded).transpose()?.unwrap_or_default();
        let request = MoveRequest { prefix, from, to: id(to) };
        match self.patient.r#move(request).await {
            Ok(reply) => {
                let MoveReply { done, over } = reply.into_inner();
                Ok(Some((done, over)))
            }
            Err(status) if status.code() == tonic::Code::Aborted => Ok(None),
            Err(status) => Err(self.error(&status)),
        }
    }

    /// Has the HSM join a group that names it. Having joined before is not an error.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn join_group(&mut self, statement: GroupStatement) -> Result<(), AdminError> {
        joined(self.setup(ask::JoinGroup(statement)).await)
    }

    /// Has this agent ask another agent to have its HSM join.
    async fn invite(&mut self, hsm: HsmId, statement: &GroupStatement) -> Result<(), AdminError> {
        let statement = minicbor::to_vec(statement).map_err(|_| AdminError::Unexpected)?;
        let request = InviteRequest { to: hsm.0.to_vec().into(), statement: statement.into() };
        let reply = self.admin.invite(request).await.map_err(|status| match status.code() {
            tonic::Code::NotFound | tonic::Code::Unavailable => AdminError::NoSuchMember(hsm),
            _ => AdminError::Agent(status.message().to_owned()),
        });
        joined(reply.and_then(|reply| decoded::<ask::JoinGroup>(&reply.into_inner())))
    }

    /// Asks the HSM whether HSMs of its realm made these entries. They must be consecutive, of one group, and no newer
    /// than what it has captured. Changes nothing.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn vouches(&mut self, group: GroupId, entries: Vec<Entry>) -> Result<bool, AdminError> {
        match self.setup(ask::Capture(group, entries)).await {
            Ok(_) => Ok(true),
            Err(AdminError::Refused(Refusal::NotAuthentic | Refusal::NotConsecutive)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn setup<A: Ask>(&mut self, ask: A) -> Result<A::Answer, AdminError> {
        let request = Asked::new(ask).bytes().to_vec().into();
        let reply = self.admin.setup(SetupRequest { request }).await;
        decoded::<A>(&reply.map_err(|status| self.error(&status))?.into_inner())
    }

    fn error(&self, status: &tonic::Status) -> AdminError {
        if status.code() == tonic::Code::Unavailable {
            AdminError::Unreachable(self.address.clone())
        } else {
            AdminError::Agent(status.message().to_owned())
        }
    }
}

fn id(group: GroupId) -> Bytes {
    group.0.to_vec().into()
}

fn encoded(prefix: Prefix) -> Result<Bytes, AdminError> {
    minicbor::to_vec(prefix).map(Bytes::from).map_err(|_| AdminError::Unexpected)
}

fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Who owns the socket that this user may not open.
fn whose(socket: &Path) -> String {
    let asks = rustix::process::geteuid();
    match std::fs::symlink_metadata(socket) {
        Ok(there) => format!("it belongs to the user with id {}, and this is {asks}", there.uid()),
        Err(_) => format!("a folder on the way there is closed to this user, with id {asks}"),
    }
}

fn decoded<A: Ask>(reply: &SetupReply) -> Result<A::Answer, AdminError> {
    read::<A>(minicbor::decode(&reply.reply).ok()).map_err(|unanswered| match unanswered {
        Unanswered::Refused(refusal) => refusal.into(),
        Unanswered::Senseless | Unanswered::Lost => AdminError::Unexpected,
    })
}

fn joined(joined: Result<GroupStatement, AdminError>) -> Result<(), AdminError> {
    match joined {
        Ok(_) | Err(AdminError::Refused(Refusal::AlreadyJoined)) => Ok(()),
        Err(error) => Err(error),
    }
}
