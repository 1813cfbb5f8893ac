//! What a tenant reads of its events at the front door, through real sockets, with a backend that stands in for the store.

use crate::door::{Door, Setting, at_most, decoded};
use crate::support::{Answer, Negative, http, post};
use std::sync::atomic::Ordering;
use strongroom_agent::config::Limits;
use strongroom_agent::front::{RELAYED_HEADER, ReadLabel, Refusal, Shown};
use strongroom_agent::limits::Over;
use strongroom_agent::token::TokenError;
use strongroom_proto::client::{ClientRequest, ClientResponse};
use strongroom_proto::ids::GroupId;

async fn read(door: &Door, path: &str, headers: &str) -> Answer {
    door.send(&http("GET", path, headers, b"")).await
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn of_group(n: u8, what: &str) -> String {
    format!("/events/{}/{what}", GroupId([n; 16]))
}

#[tokio::test]
async fn a_tenant_reads_its_streams_with_a_token_of_scope_audit_and_no_other() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    door.behind.pages.store(3, Ordering::SeqCst);
    let audit = bearer(&vectors.audit_token("auditor"));
    for (path, body) in [
        ("/events".into(), format!("{}\n", GroupId([1; 16]))),
        (of_group(1, "oldest"), "0\n".into()),
        (of_group(1, "oldest?from=2"), "2\n".into()),
        (of_group(1, "newest"), "2\n".into()),
        (of_group(1, "1"), "page 1 of acme".into()),
        (of_group(1, "1?wait=25"), "page 1 of acme".into()),
    ] {
        let answer = read(&door, &path, &audit).await;
        assert_eq!((answer.status, String::from_utf8(answer.body).unwrap()), (200, body), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for path in [of_group(1, "3"), of_group(1, "oldest?from=3")] {
        let answer = read(&door, &path, &audit).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let user = bearer(&vectors.token_of_user("user-1"));
    let mut forged = audit.clone();
    forged.insert(forged.len() - 3, 'x');
    for bad in ["", "Authorization: Bearer \r\n", &user, &forged] {
        for path in ["/events".into(), of_group(1, "0"), of_group(1, "newest")] {
            assert_eq!(read(&door, &path, bad).await.status, 401, "{path} {bad}");
        }
    }
    assert_eq!(door.metrics.tokens_refused(TokenError::Scope), 3);
    assert_eq!(door.metrics.reads(ReadLabel::Events, Shown::Found), 2);
    assert_eq!(door.metrics.reads(ReadLabel::Streams, Shown::Refused), 8);
    // And such a token opens nothing else.
    let mut request = ClientRequest::from_cbor(&vectors.body("control-valid-handshake-only")).unwrap();
    request.auth_token = vectors.audit_token("user-1");
    let answer = door.send(&post(&request.to_cbor())).await;
    assert_eq!(decoded(&answer), ClientResponse::InvalidAuth);
    assert_eq!(read(&door, "/tlog/mine", &audit).await.status, 401);
}

#[tokio::test]
async fn what_is_asked_wrongly_or_cannot_be_answered_is_told_apart() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let audit = bearer(&vectors.audit_token("auditor"));
    let statuses = [
        (of_group(1, "key"), 404),
        (of_group(1, "../7"), 404),
        ("/events/61636d65".into(), 404),
        ("/events/".into(), 404),
        ("/events?tenant=acme".into(), 400),
        (of_group(1, "0?wait=x"), 400),
        (of_group(2, "0"), 503),
        (of_group(3, "0"), 413),
    ];
    for (path, status) in statuses {
        let answer = read(&door, &path, &audit).await;
        assert_eq!((answer.status, answer.body.is_empty()), (status, false), "{path}");
    }
    assert_eq!(door.send(&http("POST", "/events", &audit, b"")).await.status, 405);
    let relayed = format!("{RELAYED_HEADER}: 1\r\n");
    let without = Door::open(&vectors, Setting { realm: false, ..Setting::default() }).await;
    for headers in [audit.clone(), audit.clone() + &relayed] {
        assert_eq!(read(&without, "/events", &headers).await.status, 503);
    }
    let limits = Limits { event_reads_in_flight: 0, ..Limits::default() };
    let closed = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
    assert_eq!(read(&closed, "/events", &audit).await.status, 404);
}

#[tokio::test]
async fn a_request_waits_for_its_page_in_one_of_so_many_places() {
    let vectors = Negative::read();
    let limited =
        |all, one| Limits { event_polls: all, tenant_event_polls: at_most(one), ..Limits::default() };
    let audit = bearer(&vectors.audit_token("auditor"));
    for (limits, status) in [(limited(1, 64), 503), (limited(1024, 1), 429)] {
        let door = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
        let (path, other) = (of_group(1, "0?wait=25"), of_group(1, "1?wait=25"));
        let (first, ()) = tokio::join!(read(&door, &path, &audit), async {
            door.behind.arrived.acquire().await.expect("never closed").forget();
            assert_eq!(door.metrics.event_polls.get(), 1);
            let second = read(&door, &other, &audit).await;
            assert_eq!((second.status, second.headers["retry-after"].as_str()), (status, "1"));
            assert_eq!(
                read(&door, &of_group(1, "0"), &audit).await.status,
                204,
                "who does not wait is answered"
            );
            door.behind.pages.store(1, Ordering::SeqCst);
        });
        assert_eq!((first.status, first.body.as_slice()), (200, &b"page 0 of acme"[..]));
        assert_eq!(door.metrics.event_polls.get(), 0);
        assert_eq!(read(&door, &of_group(1, "1?wait=1"), &audit).await.status, 204, "it does not come");
    }
}

#[tokio::test]
async fn an_agent_that_stops_lets_those_go_who_wait() {
    let vectors = Negative::read();
    let mut door = Door::open(&vectors, Setting::default()).await;
    let (path, audit) = (of_group(1, "0?wait=25"), bearer(&vectors.audit_token("auditor")));
    let request = http("GET", &path, &audit, b"");
    let (stream, stop) = (door.connect().await, door.stop.take().expect("it runs"));
    let began = std::time::Instant::now();
    let (answer, ()) = tokio::join!(crate::support::exchange(stream, &request), async {
        door.behind.arrived.acquire().await.expect("never closed").forget();
        stop.send(()).expect("it runs");
    });
    assert_eq!(answer.expect("an answer").status, 204);
    door.served.await.expect("no panic");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[tokio::test]
async fn reads_count_as_requests_and_have_so_many_places() {
    let vectors = Negative::read();
    let limits = Limits { user_requests_burst: at_most(2), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
    let audit = |user: &str| bearer(&vectors.audit_token(user));
    let statuses = [read(&door, "/events", &audit("one")).await, read(&door, "/events", &audit("one")).await];
    assert_eq!(statuses.map(|answer| answer.status), [200; 2]);
    assert_eq!(read(&door, "/events", &audit("one")).await.status, 429);
    assert_eq!(read(&door, "/events", &audit("two")).await.status, 200);
    assert_eq!(door.metrics.refused(Refusal::Over(Over::User)), 1);
    let limited = |all, one| Limits {
        event_reads_in_flight: all,
        tenant_event_reads_in_flight: at_most(one),
        ..Limits::default()
    };
    for (limits, status) in [(limited(1, 4), 503), (limited(16, 1), 429)] {
        let door = Door::open(&vectors, Setting { limits, released: 0, ..Setting::default() }).await;
        let (slow, quick, audit) = (of_group(4, "0"), of_group(1, "newest"), audit("one"));
        let (first, ()) = tokio::join!(read(&door, &slow, &audit), async {
            door.behind.arrived.acquire().await.expect("never closed").forget();
            assert_eq!(read(&door, &quick, &audit).await.status, status);
            let user = bearer(&vectors.token_of_user("user-1"));
            assert_eq!(read(&door, "/tlog/mine", &user).await.status, 200, "a user has another place");
            door.behind.released.add_permits(1);
        });
        assert_eq!(first.body, b"slow");
        assert_eq!(read(&door, &quick, &audit).await.status, 204);
    }
}
