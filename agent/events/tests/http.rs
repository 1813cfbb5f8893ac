//! A consumer that reads from agents, over HTTP: what it makes of their answers, and how it waits.

mod support;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use strongroom_events::{Begin, Consumer, Event, HttpSource, Offsets, ReadError, Source, TokenSource};
use support::agent::{Agent, TOKEN};
use support::{Memory, REALM, TENANT, Writer, group, tenant};

fn none() -> Offsets {
    Offsets::none(REALM, TENANT)
}

/// Agents over the same pages, and one who reads from all of them with the token that stands there.
struct Scene {
    rng: StdRng,
    memory: Memory,
    writer: Writer,
    agents: Vec<Agent>,
    token: Arc<Mutex<String>>,
}

impl Scene {
    fn new(agents: usize, pages: usize) -> Self {
        let (mut rng, memory, mut writer) =
            (StdRng::seed_from_u64(1), Memory::default(), Writer::new(group(1)));
        memory.write(&mut rng, &mut writer, pages);
        let agents = (0..agents).map(|_| Agent::over(&memory)).collect();
        Self { rng, memory, writer, agents, token: Arc::new(Mutex::new(TOKEN.into())) }
    }

    fn write(&mut self, pages: usize) {
        self.memory.write(&mut self.rng, &mut self.writer, pages);
        self.agents.iter().for_each(Agent::wrote);
    }

    fn source(&self) -> HttpSource {
        let urls: Vec<_> = self.agents.iter().map(|agent| agent.url().parse().unwrap()).collect();
        let token = Arc::clone(&self.token);
        let tokens = TokenSource::Minted(Arc::new(move || token.lock().unwrap().clone()));
        HttpSource::open(&urls, None, tokens).unwrap()
    }

    async fn consumer(&self, begin: Begin) -> Result<Consumer<HttpSource>, ReadError> {
        Consumer::begin(self.source(), tenant(), none(), begin).await
    }
}

async fn all<S: Source>(consumer: &mut Consumer<S>) -> Result<Vec<u64>, ReadError> {
    let mut sequences = Vec::new();
    while let Some(Event { sequence, .. }) = consumer.next().await? {
        sequences.push(sequence);
    }
    Ok(sequences)
}

#[tokio::test]
async fn all_is_read_and_then_it_waits_until_there_is_more() {
    let mut scene = Scene::new(1, 5);
    let mut consumer = scene.consumer(Begin::Start).await.unwrap();
    assert_eq!(all(&mut consumer).await.unwrap(), (0..scene.writer.next).collect::<Vec<_>>());
    let before = scene.writer.next;
    let mut waiting = scene.agents[0].state.waiting.subscribe();
    let (news, ()) = tokio::join!(consumer.news(), async {
        waiting.wait_for(|waiting| *waiting == 1).await.unwrap();
        scene.write(3);
    });
    assert!(news);
    let asked = scene.agents[0].state.asked.load(Ordering::SeqCst);
    let read = all(&mut consumer).await.unwrap();
    assert_eq!(read, (before..scene.writer.next).collect::<Vec<_>>());
    // The list of groups, the two pages after the one that the poll brought, and that there is no more.
    let more = scene.agents[0].state.asked.load(Ordering::SeqCst) - asked;
    assert_eq!(more, 5);
}

#[tokio::test]
async fn another_agent_is_asked_when_one_does_not_answer_and_a_while_is_waited_for_as_it_says() {
    let scene = Scene::new(2, 5);
    scene.agents[0].state.instead.lock().unwrap().push("503 Service Unavailable\r\nRetry-After: 0");
    let mut consumer = scene.consumer(Begin::Start).await.unwrap();
    assert_eq!(all(&mut consumer).await.unwrap(), (0..scene.writer.next).collect::<Vec<_>>());
    let asked = |agent: usize| scene.agents[agent].state.asked.load(Ordering::SeqCst);
    assert_eq!(asked(0), 1);
    assert!(asked(1) > 5);
    let busy = "429 Too Many Requests\r\nRetry-After: 0";
    scene.agents[1].state.instead.lock().unwrap().extend([busy; 1]);
    scene.agents[0].state.instead.lock().unwrap().extend([busy; 2]);
    assert_eq!(all(&mut consumer).await.unwrap(), [0; 0]);
    let down = "500 Internal Server Error\r\nRetry-After: 0";
    scene.agents.iter().for_each(|agent| agent.state.instead.lock().unwrap().extend([down; 2]));
    let error = all(&mut consumer).await.unwrap_err().to_string();
    assert!(error.contains("answers 500 Internal Server Error"), "{error}");
}

#[tokio::test]
async fn a_token_is_shown_anew_for_each_request_and_one_that_is_not_taken_is_no_reason_to_try_again() {
    let mut scene = Scene::new(1, 2);
    let mut consumer = scene.consumer(Begin::Now).await.unwrap();
    let before = scene.writer.next;
    scene.write(8);
    let new: Vec<u64> = (before..scene.writer.next).collect();
    assert!(!new.is_empty());
    "another.good.token".clone_into(&mut scene.agents[0].state.token.lock().unwrap());
    let asked = scene.agents[0].state.asked.load(Ordering::SeqCst);
    let error = all(&mut consumer).await.unwrap_err().to_string();
    assert!(error.contains("does not take the token") && !error.contains(TOKEN), "{error}");
    assert_eq!(scene.agents[0].state.asked.load(Ordering::SeqCst) - asked, 1);
    assert!(!consumer.news().await, "what fails at once is no wait");
    "another.good.token".clone_into(&mut scene.token.lock().unwrap());
    assert_eq!(all(&mut consumer).await.unwrap(), new);
}

#[tokio::test]
async fn what_shows_no_events_is_told_from_what_has_none() {
    let scene = Scene::new(1, 0);
    let mut consumer = scene.consumer(Begin::Start).await.unwrap();
    assert_eq!(all(&mut consumer).await.unwrap(), [0; 0]);
    for (head, says) in [
        ("404 Not Found", "shows no events"),
        ("301 Moved Permanently\r\nLocation: /", "answers 301"),
        ("400 Bad Request", "answers 400"),
    ] {
        scene.agents[0].state.instead.lock().unwrap().push(head);
        let error = all(&mut consumer).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let mut too_long = Scene::new(1, 1);
    too_long.write(1);
    let mut consumer = Consumer::resume(too_long.source(), tenant(), none());
    too_long.agents[0].state.instead.lock().unwrap().extend(["413 Content Too Large", "200 OK"]);
    // Two answers are replaced: a list of groups without any, and then nothing is read.
    assert_eq!(all(&mut consumer).await.unwrap(), [0; 0]);
    let source = too_long.source();
    let page = source.page(group(1), 0).await.unwrap().unwrap();
    assert_eq!(page.len(), strongroom_events::page::MAX_PAGE_BYTES + 1);
}

#[tokio::test]
async fn answers_that_make_no_sense_are_said_to_make_none() {
    let scene = Scene::new(1, 1);
    scene.memory.0.lock().unwrap().insert((group(1), 1), b"not a page".to_vec());
    let mut consumer = scene.consumer(Begin::Start).await.unwrap();
    let error = all(&mut consumer).await.unwrap_err();
    assert!(matches!(error, ReadError::Page { page: 1, .. }), "{error}");
    scene.agents[0].state.instead.lock().unwrap().push("200 OK");
    let source = scene.source();
    let error = source.newest(group(1)).await.unwrap_err().to_string();
    assert!(error.contains("something else"), "{error}");
}
