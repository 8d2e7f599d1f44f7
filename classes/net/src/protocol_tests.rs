use std::collections::VecDeque;
use std::net::TcpStream;

use super::*;
use crate::Server;

/// One end of a pipe in memory that takes a few bytes at a time and otherwise would block, or is interrupted.
#[derive(Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    outgoing: VecDeque<u8>,
    closed: bool,
    interrupted: bool,
}

impl Pipe {
    fn not_now(&mut self) -> io::Error {
        self.interrupted = !self.interrupted;
        if self.interrupted { ErrorKind::Interrupted.into() } else { ErrorKind::WouldBlock.into() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return if self.closed { Ok(0) } else { Err(self.not_now()) };
        }
        let len = buffer.len().min(self.incoming.len()).min(7);
        buffer[..len].iter_mut().zip(self.incoming.drain(..len)).for_each(|(to, from)| *to = from);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(1000 - self.outgoing.len().min(1000)).min(13);
        if len == 0 {
            return Err(self.not_now());
        }
        self.outgoing.extend(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets both ends talk until both are done; `spoil` may change what is under way to the server.
fn converse(
    request: Request,
    content: &Content,
    mut spoil: impl FnMut(&mut VecDeque<u8>),
) -> io::Result<(Transfer, Progress)> {
    let (mut client, mut server) = (Transfer::new(request), Session::default());
    let (mut here, mut there) = (Pipe::default(), Pipe::default());
    for _ in 0..100_000 {
        here.closed = client.advance(&mut here)? == Progress::Done;
        spoil(&mut here.outgoing);
        there.incoming.append(&mut here.outgoing);
        there.closed = here.closed;
        let progress = server.advance(&mut there, content)?;
        here.incoming.append(&mut there.outgoing);
        if progress == Progress::Done {
            return Ok((client, progress));
        }
    }
    panic!("the two ends wait for each other");
}

#[test]
fn a_request_is_decoded_to_what_was_encoded() {
    for request in [Request { verb: Verb::Put, bytes: 0 }, Request { verb: Verb::Get, bytes: u64::MAX }] {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
}

#[test]
fn what_is_not_a_request_ends_the_conversation() {
    let mut server = Session::default();
    let mut pipe = Pipe::default();
    pipe.incoming.extend(b"GET / HTTP/1.1\r\n");
    let error = server.advance(&mut pipe, &Content::Generated).expect_err("it is no request");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[test]
fn both_ends_of_a_put_compute_the_same_hash() {
    let (client, _) =
        converse(Request { verb: Verb::Put, bytes: 100_001 }, &Content::Generated, |_| {}).expect("a put");
    assert!(client.outcome().expect("an outcome").hash_ok);
    assert_eq!(client.moved_bytes(), 100_001);
}

#[test]
fn both_ends_of_a_get_compute_the_same_hash() {
    let (client, _) =
        converse(Request { verb: Verb::Get, bytes: 100_001 }, &Content::Generated, |_| {}).expect("a get");
    assert!(client.outcome().expect("an outcome").hash_ok);
    assert_eq!(client.moved_bytes(), 100_001);
}

#[test]
fn one_flipped_bit_makes_the_hashes_differ() {
    let mut passed = 0;
    let (client, _) = converse(Request { verb: Verb::Put, bytes: 50_000 }, &Content::Generated, |bytes| {
        if (passed..passed + bytes.len()).contains(&20_000) {
            bytes[20_000 - passed] ^= 4;
        }
        passed += bytes.len();
    })
    .expect("a put");
    assert!(!client.outcome().expect("an outcome").hash_ok);
}

#[test]
fn a_generated_stream_does_not_depend_on_the_pieces_it_is_made_in() {
    let (mut whole, mut pieces) = (vec![0; 4096], vec![0; 4096]);
    generate(&mut 0, &mut whole);
    let mut at = 0;
    for piece in pieces.chunks_mut(1024) {
        generate(&mut at, piece);
    }
    assert_eq!(whole, pieces);
    assert_ne!(whole[..2048], whole[2048..]);
}

#[test]
fn a_server_that_sends_more_than_was_asked_for_is_not_believed() {
    let mut client = Transfer::new(Request { verb: Verb::Get, bytes: 10 });
    let mut pipe = Pipe::default();
    pipe.incoming.extend(11_u64.to_be_bytes());
    let error = loop {
        match client.advance(&mut pipe) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

/// Carries out a conversation with the server on the loopback.
fn fetch(server: &Server, request: Request) -> Transfer {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connecting");
    let mut client = Transfer::new(request);
    assert_eq!(client.advance(&mut stream).expect("the transfer"), Progress::Done);
    client
}

#[test]
fn a_file_is_fetched_over_the_kernels_loopback_with_its_hash() {
    let mut content = vec![0; 300_000];
    generate(&mut 77, &mut content);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &content).expect("writing it");
    let server = Server::start(Content::File(file.path().into())).expect("the server");
    let client = fetch(&server, Request { verb: Verb::Get, bytes: u64::MAX });
    let outcome = client.outcome().expect("an outcome");
    assert_eq!(client.moved_bytes(), 300_000);
    assert!(outcome.hash_ok);
    assert_eq!(outcome.hash, Hash::from(Sha256::digest(&content)));
}

#[test]
fn the_server_on_the_loopback_takes_a_stream_and_says_its_hash() {
    let server = Server::start(Content::Generated).expect("the server");
    let client = fetch(&server, Request { verb: Verb::Put, bytes: 1 << 20 });
    assert!(client.outcome().expect("an outcome").hash_ok);
}

#[test]
fn the_server_ends_while_a_client_keeps_its_connection_open() {
    let server = Server::start(Content::Generated).expect("the server");
    let _idle = TcpStream::connect(("127.0.0.1", server.port())).expect("connecting");
    drop(server);
}

#[test]
fn the_server_answers_requests_over_udp() {
    let server = Server::start(Content::Generated).expect("the server");
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    socket.connect(("127.0.0.1", server.port())).expect("connecting");
    let mut request = [0; 100];
    write_datagram(&mut request, 0x0102_0304_0506_0708, 200);
    socket.send(&request).expect("sending");
    let mut response = [0; 1500];
    let len = socket.recv(&mut response).expect("a response");
    assert_eq!(len, 200);
    assert_eq!(check_response(&response[..len]), Some(0x0102_0304_0506_0708));
}

#[test]
fn a_response_with_a_wrong_byte_is_not_taken() {
    let mut request = [0; 100];
    write_datagram(&mut request, 5, 200);
    let mut response = vec![0; response_bytes(&request).expect("a request")];
    write_response(&request, &mut response);
    assert_eq!(check_response(&response), Some(5));
    response[150] ^= 1;
    assert_eq!(check_response(&response), None);
}
