//! The backend of the front door: what it does with a client's request before it is routed, and with the answer.

use super::{Hub, SESSION_LIFETIME};
use crate::front::{Backend, EventsRead, Published, Readiness, Relay};
use crate::peers::Sent;
use crate::traces::Trail;
use crate::usage::Operation;
use async_trait::async_trait;
use minicbor::bytes::ByteVec;
use std::sync::Arc;
use strongroom_proto::client::{
    ClientRequest, ClientResponse, HandshakeResponse, NoiseRequest, NoiseResponse, RequestKind,
};
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, NoiseReply, SessionRefusal, record_id};
use strongroom_proto::ids::RealmId;
use strongroom_replica::{Answer, ReadOutcome};

/// The backend of the front door.
pub(crate) struct Routed(pub(crate) Arc<Hub>);

#[async_trait]
impl Backend for Routed {
    fn realm(&self) -> Option<RealmId> {
        self.0.of_realm(|realm| realm.realm)
    }

    fn readiness(&self) -> Readiness {
        self.0.readiness()
    }

    fn relay(&self) -> Option<Arc<Relay>> {
        self.0.relay()
    }

    async fn serve(&self, tenant: &str, user: &str, request: ClientRequest, trail: &Trail) -> ClientResponse {
        let operation = Operation::of(&request);
        let answer = self.run(tenant, user, request, trail).await;
        self.0.account(tenant, user, operation, &answer);
        answer
    }

    async fn published(&self, what: Published) -> ReadOutcome {
        self.0.published(what).await
    }

    async fn head_of(&self, tenant: &str, user: &str) -> ReadOutcome {
        self.0.head_of(tenant, user).await
    }

    async fn events(&self, tenant: &str, what: EventsRead) -> ReadOutcome {
        self.0.events(tenant, what).await
    }
}

impl Routed {
    async fn run(&self, tenant: &str, user: &str, request: ClientRequest, trail: &Trail) -> ClientResponse {
        let unix = (self.0.time.unix)();
        let of_realm = self.0.of_realm(|realm| {
            let owner = self.0.telling.owner(realm, (tenant, user), unix);
            (record_id(&realm.record_id_key, tenant, user), owner)
        });
        let Some((record, owner)) = of_realm else { return ClientResponse::Unavailable };
        let handshake_only = request.kind == RequestKind::HandshakeOnly;
        let message = match request.encrypted {
            NoiseRequest::Handshake(handshake) => NoiseMessage::Handshake {
                ephemeral: handshake.client_ephemeral_public.into(),
                ciphertext: handshake.payload_ciphertext.into(),
            },
            // A transport message cannot be a handshake (section 11, step 7).
            NoiseRequest::Transport { .. } if handshake_only => return ClientResponse::SessionError,
            NoiseRequest::Transport { ciphertext } => {
                NoiseMessage::Transport { ciphertext: ciphertext.into() }
            }
        };
        let request = BatchRequest { record, session: request.session_id, message, time: Some(unix) };
        response_of(self.0.route(Sent { request, handshake_only, owner }, trail).await)
    }
}

fn response_of(answer: Answer) -> ClientResponse {
    match answer {
        Answer::Reply(NoiseReply::Handshake { ephemeral, ciphertext }) => {
            ClientResponse::Ok(NoiseResponse::Handshake {
                handshake: HandshakeResponse {
                    server_ephemeral_public: ephemeral.0.to_vec(),
                    payload_ciphertext: bytes_of(ciphertext),
                },
                session_lifetime: SESSION_LIFETIME,
            })
        }
        Answer::Reply(NoiseReply::Transport { ciphertext }) => {
            ClientResponse::Ok(NoiseResponse::Transport { ciphertext: bytes_of(ciphertext) })
        }
        Answer::Refused(SessionRefusal::MissingSession) => ClientResponse::MissingSession,
        Answer::Refused(SessionRefusal::SessionError) => ClientResponse::SessionError,
        Answer::Refused(SessionRefusal::DecodingError) => ClientResponse::DecodingError,
        Answer::Unavailable | Answer::Busy | Answer::NotLeader(_) | Answer::NotCovered => {
            ClientResponse::Unavailable
        }
    }
}

fn bytes_of(bytes: ByteVec) -> Vec<u8> {
    bytes.into()
}
