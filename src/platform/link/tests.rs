//! The link between real sockets.

use super::*;
use crate::clock;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(30);

/// A link before these many backends, which answer each line with their number and the line.
fn echo(backends: u16) -> (Link, Vec<SocketAddr>) {
    let link = Link::start("test", Seed(7), &[]).unwrap();
    let addresses = (0..backends).map(|n| serve_with(move |s| answer_lines(s, n))).collect::<Vec<_>>();
    addresses.iter().enumerate().for_each(|(n, a)| link.rotation().put(n as u16, *a));
    (link, addresses)
}

fn answer_lines(mut stream: TcpStream, number: u16) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let line = [format!("{number}:").as_bytes(), &buffer[..n]].concat();
        if stream.write_all(&line).is_err() {
            return;
        }
    }
}

fn serve_with(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    address
}

fn connect(link: &Link) -> TcpStream {
    let stream = TcpStream::connect(link.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends a line and gives what came back.
fn ask(stream: &mut TcpStream, line: &str) -> io::Result<String> {
    stream.write_all(line.as_bytes())?;
    let mut buffer = [0; 256];
    match stream.read(&mut buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        n => Ok(String::from_utf8_lossy(&buffer[..n]).into_owned()),
    }
}

fn all(effect: LinkEffect, direction: Direction) -> LinkFault {
    LinkFault { replicas: None, effect, direction }
}

fn silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let read = stream.read(&mut [0; 16]);
    stream.set_read_timeout(Some(LONG)).unwrap();
    matches!(read, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn spreads_connections_over_those_in_rotation_only() {
    let (link, addresses) = echo(3);
    let ask_once = || ask(&mut connect(&link), "hello").unwrap();
    let mut seen: Vec<String> = (0..60).map(|_| ask_once()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["0:hello", "1:hello", "2:hello"]);

    let mut open = connect(&link);
    let first = ask(&mut open, "x").unwrap();
    link.rotation().take(0);
    link.rotation().take(2);
    assert!((0..20).all(|_| ask_once() == "1:hello"));
    assert_eq!(ask(&mut open, "x").unwrap(), first, "an open connection stays where it is");

    link.rotation().take(1);
    assert_eq!(ask(&mut connect(&link), "hello").unwrap_err().kind(), ErrorKind::ConnectionReset);
    link.rotation().put(2, addresses[2]);
    assert_eq!(ask_once(), "2:hello");
    // One that is said to be ready and does not listen: reset, and no second try elsewhere.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    link.rotation().put(2, nobody);
    assert_eq!(ask(&mut connect(&link), "hello").unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn carries_64_megabytes_unchanged_both_ways_and_half_closes() {
    let link = Link::start("test", Seed(7), &[]).unwrap();
    // Sends back everything, and ends only when it has seen the end.
    let mirror = serve_with(|mut stream| {
        let mut back = stream.try_clone().unwrap();
        io::copy(&mut stream, &mut back).unwrap();
        back.shutdown(Shutdown::Write).unwrap();
    });
    link.rotation().put(0, mirror);
    let mut stream = connect(&link);
    let total = 64 * 1024 * 1024;
    let byte = |n: usize| (n ^ (n >> 8) ^ (n >> 16)) as u8;
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        for start in (0..total).step_by(100_000) {
            let chunk: Vec<u8> = (start..total.min(start + 100_000)).map(byte).collect();
            writer.write_all(&chunk).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut came = Vec::new();
    stream.read_to_end(&mut came).unwrap();
    sender.join().unwrap();
    assert_eq!(came.len(), total);
    assert!(came.iter().enumerate().all(|(n, b)| *b == byte(n)));
}

#[test]
fn a_limit_on_bandwidth_is_kept_by_all_connections_together_and_forgets_its_queue() {
    let link = Link::start("test", Seed(7), &[]).unwrap();
    link.rotation().put(0, serve_with(|mut s| drop(s.write_all(&[7; 100_000]))));
    let control = link.control();
    let unreached = control.add(all(LinkEffect::Bandwidth { rate: 1 << 40 }, Direction::Both));
    let id = control.add(all(LinkEffect::Bandwidth { rate: 400_000 }, Direction::From));
    let began = monotonic_nanos();
    let readers: Vec<_> = (0..2).map(|_| connect(&link)).collect();
    for mut reader in readers {
        let mut came = Vec::new();
        reader.read_to_end(&mut came).unwrap();
        assert_eq!(came, vec![7; 100_000]);
    }
    let took = monotonic_nanos() - began;
    assert!(took >= 480_000_000, "200 kB at 400 kB/s, less what may pass at once: {took} ns");
    let evidence = control.evidence(id);
    assert_eq!(evidence.connections, 2);
    assert!((190_000..=200_000).contains(&evidence.bytes) && evidence.held_ns > 0, "{evidence:?}");
    assert_eq!(control.evidence(unreached), LinkEvidence::default(), "a limit that is not reached does nothing");

    assert!(control.remove(id));
    let slow = control.add(all(LinkEffect::Bandwidth { rate: 10 }, Direction::From));
    let mut reader = connect(&link);
    assert!(silent(&mut reader));
    assert!(control.remove(slow));
    let mut came = Vec::new();
    reader.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), 100_000, "hours of queue are gone with the limit");
    assert!(control.evidence(slow).held_ns > 0);
}

#[test]
fn a_delay_holds_bytes_in_order_and_counts_what_it_did() {
    let (link, _) = echo(1);
    let control = link.control();
    let mut open = connect(&link);
    ask(&mut open, "warm").unwrap();
    let (latency, jitter) = (Duration::from_millis(40), Duration::from_millis(10));
    let id = control.add(all(LinkEffect::Delay { latency, jitter }, Direction::Both));
    assert_eq!(control.active(), 1);
    let began = monotonic_nanos();
    assert_eq!(ask(&mut open, "hello").unwrap(), "0:hello");
    assert!(monotonic_nanos() - began >= 60_000_000, "there and back, 30 ms each at least");

    // Many at once overlap and stay in order.
    let mut writer = open.try_clone().unwrap();
    let numbers: String = (1000..1050).map(|n| n.to_string()).collect();
    numbers.as_bytes().chunks(4).for_each(|four| {
        writer.write_all(four).unwrap();
        clock::sleep(Duration::from_millis(1));
    });
    let mut came = String::new();
    while came.replace("0:", "").len() < numbers.len() {
        let mut buffer = [0; 512];
        let n = open.read(&mut buffer).unwrap();
        came.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(came.contains("1000") && came.contains("1049"));
    let evidence = control.evidence(id);
    assert_eq!(evidence.connections, 1);
    assert!(evidence.chunks >= 4 && evidence.bytes >= 2 * 200);
    assert!(evidence.held_ns >= evidence.chunks * 30_000_000);

    assert!(control.remove(id));
    assert!(!control.remove(id));
    assert_eq!(control.active(), 0);
    ask(&mut open, "after").unwrap();
    assert_eq!(control.evidence(id), evidence, "stays, and does not grow any more");
}

#[test]
fn delays_of_one_direction_leave_the_other_alone_and_add_up() {
    let (link, _) = echo(1);
    let control = link.control();
    let delay = |ms| LinkEffect::Delay { latency: Duration::from_millis(ms), jitter: Duration::ZERO };
    let to = [control.add(all(delay(30), Direction::To)), control.add(all(delay(60), Direction::To))];
    let other = control.add(LinkFault { replicas: Some(vec![9]), ..all(delay(1000), Direction::Both) });
    let began = monotonic_nanos();
    ask(&mut connect(&link), "x").unwrap();
    assert!(monotonic_nanos() - began >= 90_000_000);
    let evidence = to.map(|id| control.evidence(id));
    assert!(evidence.iter().all(|e| e.chunks >= 1 && e.connections == 1));
    assert!(evidence[0].held_ns >= 30_000_000 && evidence[1].held_ns >= 60_000_000);
    assert_eq!(control.evidence(other), LinkEvidence::default(), "it names another replica");
}

#[test]
fn a_black_hole_accepts_and_stays_silent_then_resets_what_it_held() {
    let (link, _) = echo(1);
    let control = link.control();
    let (mut used, mut untouched) = (connect(&link), connect(&link));
    ask(&mut used, "x").unwrap();
    ask(&mut untouched, "x").unwrap();
    let id = control.add(all(LinkEffect::Blackhole, Direction::Both));
    let mut new = connect(&link);
    used.write_all(b"lost").unwrap();
    new.write_all(b"lost too").unwrap();
    assert!(silent(&mut used) && silent(&mut new));
    while control.evidence(id).bytes < 12 {
        clock::sleep(Duration::from_millis(5));
    }
    let evidence = control.evidence(id);
    assert_eq!((evidence.connections, evidence.bytes, evidence.resets), (2, 12, 0));

    assert!(control.remove(id));
    for held in [&mut used, &mut new] {
        assert_eq!(held.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(ask(&mut untouched, "x").unwrap(), "0:x");
    assert_eq!(ask(&mut connect(&link), "x").unwrap(), "0:x");
    assert_eq!(control.evidence(id).resets, 2);
}

#[test]
fn a_black_hole_for_answers_lets_requests_through_and_hides_the_end() {
    let link = Link::start("test", Seed(7), &[]).unwrap();
    let (heard, hears) = std::sync::mpsc::channel();
    let backend = serve_with(move |mut stream| {
        let mut buffer = [0; 64];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            heard.send(String::from_utf8_lossy(&buffer[..n]).into_owned()).unwrap();
            stream.write_all(b"answer").unwrap();
        }
        heard.send("end".into()).unwrap();
    });
    link.rotation().put(0, backend);
    let mut client = connect(&link);
    assert_eq!(ask(&mut client, "one").unwrap(), "answer");
    let control = link.control();
    let from = control.add(all(LinkEffect::Blackhole, Direction::From));
    client.write_all(b"two").unwrap();
    assert!(silent(&mut client));
    while control.evidence(from).bytes < 6 {
        clock::sleep(Duration::from_millis(5));
    }
    control.add(all(LinkEffect::Blackhole, Direction::To));
    drop(client);
    assert!(hears.recv_timeout(LONG).unwrap() == "one" && hears.recv_timeout(LONG).unwrap() == "two");
    assert!(hears.recv_timeout(Duration::from_millis(200)).is_err(), "nobody tells it that the client left");
    control.remove(from);
    assert_eq!(hears.recv_timeout(LONG).unwrap(), "end");
}

#[test]
fn a_reset_breaks_open_and_new_connections_until_it_is_taken_off() {
    let (link, _) = echo(2);
    let control = link.control();
    let mut idle = connect(&link);
    ask(&mut idle, "x").unwrap();
    let id = control.add(all(LinkEffect::Reset, Direction::Both));
    assert_eq!(idle.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(connect(&link).read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let evidence = control.evidence(id);
    assert_eq!((evidence.connections, evidence.resets), (2, 2));
    control.remove(id);
    assert!(ask(&mut connect(&link), "x").is_ok());
}

#[test]
fn passes_on_a_reset_as_a_reset_and_an_end_as_an_end() {
    let link = Link::start("test", Seed(7), &[]).unwrap();
    link.rotation()
        .put(0, serve_with(|stream| rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap()));
    assert_eq!(connect(&link).read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    link.rotation().put(0, serve_with(|stream| stream.shutdown(Shutdown::Both).unwrap()));
    assert_eq!(connect(&link).read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn an_endless_sender_is_held_up_by_a_reader_that_does_not_read() {
    let link = Link::start("test", Seed(7), &[]).unwrap();
    link.rotation().put(0, serve_with(|_stream| clock::sleep(LONG)));
    for delayed in [false, true] {
        if delayed {
            let effect = LinkEffect::Delay { latency: LONG, jitter: Duration::ZERO };
            link.control().add(all(effect, Direction::To));
        }
        let mut stream = connect(&link);
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let chunk = vec![0u8; 64 * 1024];
        // Socket buffers on both sides take a few megabytes; 256 would be no limit any more.
        let sent = (0..4096).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        assert!(sent < 4096, "delayed: {delayed}");
    }
}
