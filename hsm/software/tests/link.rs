//! The link: frames to a handler and back, its bounds, and its end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use strongroom_hsm_software::{Address, Error, Listener, MAX_CONNECTIONS, Options, Server, start};
use strongroom_proto::frame::{Decoder, Frame};

const LIMIT: u32 = 100;

fn unix(path: &Path) -> Address {
    Address::Unix(path.into())
}

fn echo(address: &Address) -> Server {
    let handler = |request: &[u8]| [b"re: ", request].concat();
    Server::spawn(Listener::bind(address).unwrap(), LIMIT, handler).unwrap()
}

/// The next frame, or `None` when the connection has ended.
fn receive(stream: &mut impl Read, decoder: &mut Decoder) -> Option<Frame> {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) => {}
            _ => return None,
        }
        if let Some(frame) = decoder.push(&mut byte.as_slice()).unwrap() {
            return Some(frame);
        }
    }
}

fn ask(stream: &mut (impl Read + Write), request_id: u32, payload: &[u8]) -> Option<Frame> {
    stream.write_all(&Frame::encode(request_id, payload, u32::MAX).unwrap()).ok()?;
    receive(stream, &mut Decoder::new(1 << 20))
}

#[test]
fn requests_are_answered_in_order_with_their_own_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    let server = echo(&unix(&path));
    let mut stream = UnixStream::connect(&path).unwrap();
    let burst: Vec<u8> = (0..50).flat_map(|id| Frame::encode(id, &[id as u8; 3], LIMIT).unwrap()).collect();
    stream.write_all(&burst).unwrap();
    let mut decoder = Decoder::new(LIMIT);
    for request_id in 0..50 {
        let payload = [b"re: ".as_slice(), &[request_id as u8; 3]].concat();
        assert_eq!(receive(&mut stream, &mut decoder), Some(Frame { request_id, payload }));
    }
    server.stop();
}

#[test]
fn tcp_works_as_unix_does() {
    let server = echo(&"tcp:127.0.0.1:0".parse().unwrap());
    let Address::Tcp(address) = server.address() else { panic!("not TCP") };
    let mut stream = TcpStream::connect(address).unwrap();
    assert_eq!(ask(&mut stream, 7, b"hello").unwrap().payload, b"re: hello");
}

#[test]
fn a_frame_over_the_limit_ends_its_connection_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    let _server = echo(&unix(&path));
    let (mut good, mut bad) = (UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap());
    assert!(ask(&mut good, 1, &[0; LIMIT as usize]).is_some());
    assert_eq!(ask(&mut bad, 1, &[0; LIMIT as usize + 1]), None);
    assert!(ask(&mut good, 2, b"still").is_some());
}

#[test]
fn one_connection_too_many_replaces_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    let _server = echo(&unix(&path));
    let mut streams: Vec<_> = (0..=MAX_CONNECTIONS)
        .map(|_| {
            let mut stream = UnixStream::connect(&path).unwrap();
            assert!(ask(&mut stream, 1, b"first").is_some());
            stream
        })
        .collect();
    let answered: Vec<bool> = streams.iter_mut().map(|stream| ask(stream, 2, b"again").is_some()).collect();
    assert_eq!(answered.iter().position(|answered| *answered), Some(1));
    assert!(answered[1..].iter().all(|answered| *answered));
}

#[test]
fn a_stop_ends_connections_loses_the_reply_under_way_and_drops_the_handler() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    let (entered, in_handler) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let handler = move |request: &[u8]| {
        entered.send(()).unwrap();
        let _ = wait.recv();
        request.to_vec()
    };
    let server = Server::spawn(Listener::bind(&unix(&path)).unwrap(), LIMIT, handler).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&Frame::encode(1, b"x", LIMIT).unwrap()).unwrap();
    in_handler.recv().unwrap();
    let stopping = std::thread::spawn(move || server.stop());
    assert_eq!(receive(&mut stream, &mut Decoder::new(LIMIT)), None);
    go_on.send(()).unwrap();
    stopping.join().unwrap();
    assert!(!path.exists());
    assert!(in_handler.recv().is_err(), "the handler is still there");
}

#[test]
fn a_handler_that_panics_is_never_called_again_and_the_server_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    let mut calls = 0;
    let handler = move |_: &[u8]| {
        calls += 1;
        assert_eq!(calls, 1, "called again");
        panic!("as planned")
    };
    let server = Server::spawn(Listener::bind(&unix(&path)).unwrap(), LIMIT, handler).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    assert_eq!(ask(&mut stream, 1, b"x"), None);
    server.wait();
    assert!(!path.exists());
}

#[test]
fn a_socket_file_without_a_listener_is_replaced_and_one_with_a_listener_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _server = echo(&unix(&path));
    assert!(matches!(Listener::bind(&unix(&path)), Err(Error::AddressInUse { .. })));
    assert!(ask(&mut UnixStream::connect(&path).unwrap(), 1, b"x").is_some());
}

#[test]
fn a_file_that_is_not_a_socket_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, b"data").unwrap();
    assert!(matches!(Listener::bind(&unix(&path)), Err(Error::AddressInUse { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"data");
}

#[test]
fn addresses_are_unix_paths_or_tcp_hosts_with_a_port() {
    for text in ["unix:/run/hsm.sock", "tcp:127.0.0.1:7000", "tcp:[::1]:7000"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["", "unix:", "tcp:", "tcp:localhost", "/run/hsm.sock", "udp:1.2.3.4:5"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn a_software_hsm_keeps_its_identity_over_a_restart_and_answers_anything() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        nvram: folder.path().join("nvram"),
        listen: unix(&folder.path().join("hsm.sock")),
        config: strongroom_hsm::Config::software(),
        console: strongroom_hsm_software::Console::dark(),
    };
    let status = || {
        let mut stream = UnixStream::connect(folder.path().join("hsm.sock")).unwrap();
        assert!(ask(&mut stream, 1, b"not a request").is_some());
        let request = minicbor::to_vec(strongroom_proto::hsm::Request::DeviceStatus).unwrap();
        let reply = ask(&mut stream, 2, &request).unwrap().payload;
        match minicbor::decode(&reply).unwrap() {
            strongroom_proto::hsm::Reply::Device(status) => status.hsm,
            other => panic!("{other:?}"),
        }
    };
    let server = start(options()).unwrap();
    let first = status();
    assert!(matches!(start(options()), Err(Error::Locked { .. })));
    server.stop();
    let _server = start(options()).unwrap();
    assert_eq!(status(), first);
}
