//! HTTP/2 by hand-made frames: what each does, whatever the pieces it comes in, and what no peer can do to us.

use std::io::{Read, Write};
use std::net::TcpStream;

use proptest::prelude::*;

use super::hpack::{Literal, put_literal};
use super::*;
use crate::plan::tests_support::target;
use crate::plan::{AnswerPaths, Protocol, Url};

const MAX: usize = 1 << 20;
const END: u8 = flag::END_STREAM;

fn url(path: &str) -> Url {
    Url { tls: false, host: "model.test".into(), port: 80, path: path.into() }
}

fn requests(method: &str, bodies: &[&[u8]]) -> Arc<Requests> {
    let target = target(Protocol::Http, AnswerPaths::default());
    let bodies = bodies.iter().copied();
    Arc::new(Requests::with_bodies(&target, &url("/predict"), method, "application/json", bodies))
}

/// A connection with nothing more to say, whose peer has greeted it and begun these requests of five octets.
fn session(open: usize) -> Session {
    let mut s = Session::new(requests("POST", &[b"hello"]), MAX, 100);
    s.receive(&settings(&[]));
    for slot in 0..open {
        assert_eq!(s.begin(0), slot as u32);
    }
    s.sent(s.outgoing().len());
    s
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_header(&mut out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
    out
}

fn settings(list: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_settings(&mut out, list);
    out
}

fn number(kind: u8, stream: u32, number: u32) -> Vec<u8> {
    frame(kind, 0, stream, &number.to_be_bytes())
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        put_literal(&mut out, Literal::Once, name, value.as_bytes());
    }
    out
}

fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, &block(fields))
}

fn data(stream: u32, flags: u8, body: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, body)
}

/// A good answer.
fn ok(stream: u32, body: &str) -> Vec<u8> {
    [head(stream, 0, &[(":status", "200"), ("server", "test")]), data(stream, END, body.as_bytes())].concat()
}

fn goaway(last: u32, code: u32, said: &str) -> Vec<u8> {
    frame(kind::GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &code.to_be_bytes(), said.as_bytes()].concat())
}

fn events(s: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| s.next_event()).collect()
}

fn answer(s: &Session, slot: u32) -> (u16, String) {
    s.with_answer(slot, |a| (a.status, String::from_utf8_lossy(a.body).into_owned()))
}

/// The frames that are to be sent: kind, flags, stream, payload.
fn sent(s: &mut Session) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut octets = s.outgoing();
    octets = octets.strip_prefix(frame::PREFACE).unwrap_or(octets);
    let mut frames = Vec::new();
    while let Some(header) = frame::Header::read(octets) {
        let (this, rest) = octets.split_at(HEADER + header.length);
        frames.push((header.kind, header.flags, header.stream, this[HEADER..].to_vec()));
        octets = rest;
    }
    s.sent(s.outgoing().len());
    frames
}

/// Octets of bodies among what is to be sent.
fn body_octets(s: &mut Session) -> usize {
    sent(s).iter().filter(|f| f.0 == kind::DATA).map(|f| f.3.len()).sum()
}

fn failed(class: ErrorClass, why: &str) -> [Event; 2] {
    [Event::StreamFailed(0, class, why.to_owned().into()), Event::Failed(class, why.to_owned().into())]
}

#[test]
fn the_first_words_are_preface_settings_and_a_large_window() {
    let mut s = Session::new(requests("GET", &[b""]), MAX, 10);
    assert!(s.outgoing().starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    let frames = sent(&mut s);
    assert_eq!(frames.iter().map(|f| (f.0, f.2)).collect::<Vec<_>>(), [(kind::SETTINGS, 0), (kind::WINDOW_UPDATE, 0)]);
    let said: Vec<_> = frame::settings(&frames[0].3).collect();
    assert_eq!(said, [(1, 0), (2, 0), (4, MAX as u32), (6, HEAD_MAX as u32)]);
    assert_eq!(frame::number(&frames[1].3), Some((1 << 30) - 65_535));
}

#[test]
fn the_second_request_names_what_the_first_has_said() {
    let mut s = session(0);
    s.begin(0);
    s.begin(0);
    s.begin(0);
    let frames = sent(&mut s);
    let kinds: Vec<_> = frames.iter().map(|f| (f.0, f.1, f.2)).collect();
    let of = |id| [(kind::HEADERS, flag::END_HEADERS, id), (kind::DATA, END, id)];
    assert_eq!(kinds, [of(1), of(3), of(5)].concat());
    assert!(frames[0].3.len() > 60, "{frames:?}");
    // Eight fields of an octet each, and content-length: name by number, value as it stands.
    assert_eq!(frames[2].3.len(), 7 + 4, "{frames:?}");
    assert_eq!(frames[2].3, frames[4].3);
    assert_eq!(frames[5].3, b"hello");
}

#[test]
fn a_get_ends_with_its_head() {
    let mut s = Session::new(requests("GET", &[b""]), MAX, 10);
    s.begin(0);
    assert_eq!(sent(&mut s).last().map(|f| (f.0, f.1)), Some((kind::HEADERS, flag::END_HEADERS | END)));
}

#[test]
fn a_head_larger_than_a_frame_goes_on_in_others() {
    let mut target = target(Protocol::Http, AnswerPaths::default());
    target.headers = vec![("x-long".into(), "y".repeat(40_000))];
    let requests = Requests::with_bodies(&target, &url("/"), "POST", "text/plain", [&b"hello"[..]]);
    let mut s = Session::new(Arc::new(requests), MAX, 10);
    s.receive(&settings(&[(setting::HEADER_TABLE_SIZE, 0)]));
    s.begin(0);
    let frames: Vec<_> = sent(&mut s).into_iter().filter(|f| f.2 == 1).collect();
    let kinds: Vec<_> = frames.iter().map(|f| (f.0, f.1)).collect();
    let more = (kind::CONTINUATION, 0);
    assert_eq!(kinds, [(kind::HEADERS, 0), more, (kind::CONTINUATION, flag::END_HEADERS), (kind::DATA, END)]);
    let whole: Vec<u8> = frames[..3].iter().flat_map(|f| f.3.clone()).collect();
    let mut names = Vec::new();
    let read = hpack::decode(&whole, &mut Vec::new(), |name, value| {
        names.push((String::from_utf8_lossy(name).into_owned(), value.len()));
        Ok::<(), hpack::Unreadable>(())
    });
    assert_eq!(read, Ok(()));
    assert_eq!((names.len(), &names[7]), (9, &("x-long".to_owned(), 40_000)));
}

/// Everything that a peer may do around an answer.
fn rich_answer() -> Vec<u8> {
    let fields = block(&[(":status", "200"), ("content-length", "6"), ("x-model-version", "7")]);
    let padded_head = [&[2, 0, 0, 0, 0, 16][..], &fields[..4], &[0, 0]].concat();
    [
        frame(kind::SETTINGS, 0, 0, &[0, 99, 0, 0, 0, 1]),
        frame(kind::SETTINGS, flag::ACK, 0, b""),
        head(1, 0, &[(":status", "103"), ("link", "</x>")]),
        frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &padded_head),
        frame(kind::CONTINUATION, 0, 1, b""),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &fields[4..]),
        frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        frame(kind::DATA, flag::PADDED, 1, b"\x03an\0\0\0"),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(kind::PING, flag::ACK, 0, b"12345678"),
        frame(kind::DATA, flag::PADDED, 1, b"\x01\0"),
        data(1, 0, b""),
        frame(77, 255, 1, b"of a kind to come"),
        number(kind::WINDOW_UPDATE, 1, 10),
        data(1, 0, b"swer"),
        head(1, END, &[("x-trailer", "z")]),
    ]
    .concat()
}

#[test]
fn an_answer_is_read_whatever_the_pieces() {
    let wire = rich_answer();
    for piece in [1, 2, 3, 7, 10, 64, wire.len()] {
        let mut s = Session::new(requests("POST", &[b"hello"]), MAX, 10);
        let slot = s.begin(0);
        for part in wire.chunks(piece) {
            s.receive(part);
        }
        assert_eq!(events(&mut s), [Event::Answered(slot)], "by {piece}");
        s.with_answer(slot, |a| {
            assert_eq!((a.headers.get("content-length"), a.headers.get("X-Model-Version")), (Some("6"), Some("7")));
            assert_eq!((a.status, a.body), (200, &b"answer"[..]));
        });
        let acks: Vec<_> =
            sent(&mut s).into_iter().filter(|f| f.2 == 0 && f.1 == flag::ACK).map(|f| (f.0, f.3)).collect();
        assert_eq!(acks, [(kind::SETTINGS, vec![]), (kind::PING, b"12345678".to_vec())]);
        s.release(slot);
        assert_eq!((s.begin(0), s.body_so_far(slot)), (slot, &b""[..]));
    }
}

#[test]
fn answers_of_many_streams_may_interleave() {
    let mut s = session(3);
    let heads: Vec<_> = [5, 1, 3].iter().flat_map(|id| head(*id, 0, &[(":status", "200")])).collect();
    s.receive(&heads);
    for part in ["a", "b", "c"] {
        for id in [3, 1, 5] {
            s.receive(&data(id, if part == "c" { END } else { 0 }, format!("{part}{id}").as_bytes()));
        }
    }
    assert_eq!(events(&mut s), [Event::Answered(1), Event::Answered(0), Event::Answered(2)]);
    assert_eq!(answer(&s, 0).1 + &answer(&s, 1).1 + &answer(&s, 2).1, "a1b1c1a3b3c3a5b5c5");
}

#[test]
fn an_answer_to_head_has_a_length_and_no_body() {
    let mut s = Session::new(requests("HEAD", &[b""]), MAX, 10);
    s.begin(0);
    s.begin(0);
    let long = [(":status", "200"), ("content-length", "99999999999")];
    s.receive(&[settings(&[]), head(1, END, &long), head(3, 0, &long), data(3, END, b"x")].concat());
    let why = "a body where none may be".into();
    assert_eq!(events(&mut s), [Event::Answered(0), Event::StreamFailed(1, ErrorClass::BadAnswer, why)]);
}

#[test]
fn tokens_are_seen_when_they_come_and_not_when_their_frame_ends() {
    let mut s = session(1);
    s.receive(&head(1, 0, &[(":status", "200")]));
    let wire = data(1, END, b"two tokens");
    s.receive(&wire[..HEADER]);
    assert_eq!(events(&mut s), []);
    s.receive(&wire[HEADER..HEADER + 1]);
    s.receive(&wire[HEADER + 1..HEADER + 3]);
    assert_eq!((events(&mut s), s.body_so_far(0)), (vec![], &b"two"[..]));
    s.receive(&wire[HEADER + 3..]);
    assert_eq!(events(&mut s), [Event::Answered(0)]);
}

#[test]
fn a_body_waits_for_the_windows_of_stream_and_connection() {
    let body = vec![b'x'; 100_000];
    let mut s = Session::new(requests("POST", &[&body]), MAX, 10);
    s.receive(&settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]));
    s.begin(0);
    assert_eq!(body_octets(&mut s), 10);
    // Taken back below what was used: the window is negative, and the first five octets allowed make it zero.
    s.receive(&settings(&[(setting::INITIAL_WINDOW_SIZE, 5)]));
    s.receive(&number(kind::WINDOW_UPDATE, 1, 5));
    assert_eq!(body_octets(&mut s), 0);
    s.receive(&number(kind::WINDOW_UPDATE, 1, 7));
    assert_eq!(body_octets(&mut s), 7);
    // The stream's window is ample now, the connection's is not.
    s.receive(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000_000)]));
    assert_eq!(body_octets(&mut s), 65_535 - 17);
    s.receive(&number(kind::WINDOW_UPDATE, 0, 1_000_000));
    let rest = sent(&mut s);
    assert_eq!(rest.iter().map(|f| f.3.len()).sum::<usize>(), 100_000 - 65_535);
    assert_eq!(rest.last().map(|f| f.1), Some(END));
    assert!(rest.iter().all(|f| f.3.len() <= PAYLOAD_MAX));
}

#[test]
fn large_bodies_go_out_in_turn_and_only_as_the_socket_takes_them() {
    let body = vec![b'x'; 1 << 20];
    let mut s = Session::new(requests("POST", &[&body]), MAX, 10);
    let window = (setting::INITIAL_WINDOW_SIZE, MAX_31);
    s.receive(&[settings(&[window]), number(kind::WINDOW_UPDATE, 0, 1 << 30)].concat());
    s.begin(0);
    s.begin(0);
    let (mut seen, mut turns) = (0, Vec::new());
    while !s.outgoing().is_empty() {
        assert!(s.outgoing().len() < BODIES_WAIT_ABOVE + PAYLOAD_MAX + 1000);
        for (_, _, stream, payload) in sent(&mut s).into_iter().filter(|f| f.0 == kind::DATA) {
            seen += payload.len();
            turns.push(stream);
        }
    }
    assert_eq!(seen, 2 << 20);
    assert!(turns[8..turns.len() - 8].windows(2).all(|two| two[0] != two[1]), "{turns:?}");
}

#[test]
fn what_the_peer_may_send_is_topped_up_before_it_runs_out() {
    let mut s = session(2);
    s.receive(&head(1, 0, &[(":status", "200")]));
    let full = data(1, 0, &[b'x'; PAYLOAD_MAX]);
    for _ in 0..40 {
        s.receive(&full);
    }
    let topped: Vec<_> = sent(&mut s).into_iter().map(|f| (f.0, f.2, frame::number(&f.3).unwrap())).collect();
    assert_eq!(topped, [(kind::WINDOW_UPDATE, 1, 33 * PAYLOAD_MAX as u32)]);
    // What nobody wants any more still counts on the connection.
    s.release(0);
    sent(&mut s);
    for _ in 0..(CONNECTION_WINDOW / 2) as usize / PAYLOAD_MAX {
        s.receive(&full);
    }
    let topped: Vec<_> = sent(&mut s).into_iter().map(|f| (f.0, f.2)).collect();
    assert_eq!(topped, [(kind::WINDOW_UPDATE, 0)]);
    assert_eq!(events(&mut s), []);
}

#[test]
fn room_is_what_both_sides_allow() {
    let mut s = Session::new(requests("GET", &[b""]), MAX, 300);
    assert_eq!(s.room(), 100, "before the peer has spoken");
    s.receive(&settings(&[]));
    assert_eq!(s.room(), 300);
    s.receive(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 2)]));
    s.begin(0);
    s.begin(0);
    assert_eq!(s.room(), 0);
    s.receive(&head(1, END, &[(":status", "200")]));
    assert_eq!((events(&mut s), s.room()), (vec![Event::Answered(0)], 0));
    s.release(0);
    assert_eq!(s.room(), 1);
    s.receive(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)]));
    assert_eq!((s.room(), s.is_over()), (0, false));
}

#[test]
fn identifiers_run_out_and_the_connection_ends_in_peace() {
    let mut s = session(0);
    s.next_id = MAX_31 - 2;
    assert_eq!(s.room(), 2);
    s.begin(0);
    s.begin(0);
    assert_eq!((s.room(), s.is_over()), (0, false));
    s.receive(&[ok(MAX_31, "last"), ok(MAX_31 - 2, "one before")].concat());
    assert_eq!(events(&mut s), [Event::Answered(1), Event::Answered(0)]);
    assert!(s.is_over());
}

#[test]
fn nothing_is_begun_while_the_socket_takes_nothing() {
    let mut s = Session::new(requests("POST", &[&[b'x'; 1000]]), MAX, 100);
    s.receive(&settings(&[(setting::HEADER_TABLE_SIZE, 0)]));
    let mut begun = 0;
    while s.room() > 0 {
        let slot = s.begin(0);
        s.release(slot);
        begun += 1;
        assert!(s.outgoing().len() < FULL_ABOVE + 2000);
    }
    assert!(begun > 100, "{begun}");
    s.sent(s.outgoing().len());
    assert_eq!(s.room(), 100);
}

#[test]
fn a_cancelled_slot_is_free_at_once_and_late_frames_of_it_mean_nothing() {
    let mut s = session(2);
    s.receive(&head(1, 0, &[(":status", "200")]));
    s.receive(&data(1, END, b"half an answer")[..12]);
    s.release(0);
    assert_eq!(sent(&mut s), [(kind::RST_STREAM, 0, 1, code::CANCEL.to_be_bytes().to_vec())]);
    assert_eq!(s.begin(0), 0);
    s.receive(&data(1, END, b"half an answer")[12..]);
    let late = [data(1, 0, b"x"), head(1, END, &[(":status", "503")]), number(kind::RST_STREAM, 1, 0)];
    s.receive(&[late.concat(), number(kind::WINDOW_UPDATE, 1, 0), ok(5, "mine"), ok(3, "other")].concat());
    assert_eq!(events(&mut s), [Event::Answered(0), Event::Answered(1)]);
    assert_eq!((answer(&s, 0).1.as_str(), answer(&s, 1).1.as_str()), ("mine", "other"));
}

#[test]
fn a_slot_that_was_released_has_no_more_events() {
    let mut s = session(1);
    s.receive(&ok(1, "too late for its owner"));
    s.release(0);
    assert_eq!(s.begin(0), 0);
    assert_eq!(events(&mut s), []);
    s.receive(&ok(3, "in time"));
    assert_eq!(events(&mut s), [Event::Answered(0)]);
}

#[test]
fn an_early_answer_counts_and_the_rest_of_the_request_is_kept() {
    let body = vec![b'x'; 100_000];
    let mut s = Session::new(requests("POST", &[&body]), MAX, 10);
    s.receive(&settings(&[]));
    s.begin(0);
    sent(&mut s);
    s.receive(&head(1, END, &[(":status", "413")]));
    s.receive(&[number(kind::RST_STREAM, 1, 0), number(kind::WINDOW_UPDATE, 0, 1 << 20)].concat());
    assert_eq!((events(&mut s), answer(&s, 0).0), (vec![Event::Answered(0)], 413));
    assert_eq!(sent(&mut s), [(kind::RST_STREAM, 0, 1, code::CANCEL.to_be_bytes().to_vec())]);
    s.release(0);
    assert_eq!((s.outgoing(), s.room()), (&b""[..], 10));
}

#[test]
fn a_reset_stream_is_named_by_its_code_and_harms_no_other() {
    for (code, name) in [(0, "NO_ERROR"), (7, "REFUSED_STREAM"), (11, "ENHANCE_YOUR_CALM"), (99, "a code of its own")] {
        let mut s = session(2);
        s.receive(&[number(kind::RST_STREAM, 1, code), ok(3, "fine")].concat());
        let why = format!("RST_STREAM ({name})").into();
        assert_eq!(events(&mut s), [Event::StreamFailed(0, ErrorClass::Reset, why), Event::Answered(1)]);
    }
}

#[test]
fn a_peer_that_leaves_says_what_it_never_processed() {
    let mut s = session(3);
    s.receive(&goaway(MAX_31, 0, ""));
    assert_eq!((events(&mut s), s.room(), s.is_over()), (vec![], 0, false));
    s.receive(&goaway(3, 11, "too_many\nrequests"));
    let why = "GOAWAY (ENHANCE_YOUR_CALM, too_many requests): never processed";
    assert_eq!(events(&mut s), [Event::StreamFailed(2, ErrorClass::Closed, why.into())]);
    s.receive(&[ok(3, "still"), goaway(5, 0, "")].concat());
    assert_eq!((events(&mut s), s.is_over()), (vec![Event::Answered(1)], false));
    s.closed();
    let why = "the peer closed after GOAWAY (NO_ERROR)";
    assert_eq!(events(&mut s), failed(ErrorClass::Closed, why));
    assert!(s.is_over());
}

#[test]
fn a_peer_that_closes_fails_what_is_open_and_nothing_else() {
    let mut s = session(2);
    s.receive(&[ok(3, "whole"), head(1, 0, &[(":status", "200")]), data(1, 0, b"no end")].concat());
    s.closed();
    let mut want = vec![Event::Answered(1)];
    want.extend(failed(ErrorClass::Closed, "the peer closed before a whole answer"));
    assert_eq!(events(&mut s), want);
    assert_eq!(answer(&s, 1).1, "whole");
    s.closed();
    s.receive(&ok(1, "from the grave"));
    assert_eq!((events(&mut s), s.room()), (vec![], 0));
    s.release(0);
    s.release(1);
    assert!(s.is_over());

    let mut idle = session(0);
    idle.closed();
    assert_eq!(events(&mut idle), [Event::Failed(ErrorClass::Closed, "the peer closed".into())]);
}

#[test]
fn a_connection_that_was_dead_before_its_request_is_told_apart() {
    let mut s = Session::new(requests("GET", &[b""]), MAX, 10);
    let first = s.begin(0);
    assert!(!s.is_reused_and_silent(first), "nothing ever came: it is new");
    s.receive(&settings(&[]));
    let second = s.begin(0);
    assert!(s.is_reused_and_silent(second) && !s.is_reused_and_silent(first));
    s.receive(&frame(kind::PING, 0, 0, b"12345678"));
    s.abandon(ErrorClass::Reset, "broken".into());
    assert!(!s.is_reused_and_silent(second));
    let why = || Cow::from("broken");
    let want = [0, 1].map(|slot| Event::StreamFailed(slot, ErrorClass::Reset, why()));
    assert_eq!(events(&mut s), [&want[..], &[Event::Failed(ErrorClass::Reset, why())]].concat());
}

/// A stream against the rules fails alone: the peer hears why, and the next answer is read.
#[test]
fn an_answer_that_no_client_can_use_has_a_class() {
    let status = (":status", "200");
    let ok_head = head(1, 0, &[status]);
    let length = |n: &str| head(1, 0, &[status, ("content-length", n)]);
    let many: Vec<_> = [status].into_iter().chain(std::iter::repeat_n(("a", "b"), 129)).collect();
    let wide = "x".repeat(10_000);
    let wide: Vec<_> = [status].into_iter().chain(std::iter::repeat_n(("a", wide.as_str()), 7)).collect();
    let wide = block(&wide);
    let flood: Vec<u8> = (0..8000).flat_map(|_| frame(kind::CONTINUATION, 0, 1, b"")).collect();
    let interim: Vec<u8> = (0..8000).flat_map(|_| head(1, 0, &[(":status", "100")])).collect();
    let large = vec![b'x'; PAYLOAD_MAX];
    let too_much: Vec<u8> = (0..=MAX / PAYLOAD_MAX).flat_map(|_| data(1, 0, &large)).collect();
    let end_headers = frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"");
    let mut long = vec![frame(kind::HEADERS, 0, 1, &wide[..9000])];
    long.extend(wide[9000..].chunks(9000).map(|part| frame(kind::CONTINUATION, 0, 1, part)));
    long.push(end_headers.clone());
    let (bad, too_large) = (ErrorClass::BadAnswer, ErrorClass::TooLarge);
    let cases: Vec<(&str, ErrorClass, u32, Vec<u8>)> = vec![
        ("a body before its head", bad, 1, data(1, 0, b"x")),
        ("a body before its head", bad, 1, data(1, END, b"")),
        ("a body longer", bad, 1, [length("3"), data(1, 0, b"four")].concat()),
        ("a body shorter", bad, 1, [length("5"), data(1, END, b"four")].concat()),
        ("a body shorter", bad, 1, head(1, END, &[status, ("content-length", "5")])),
        ("a body shorter", bad, 1, [length("5"), data(1, 0, b"four"), head(1, END, &[("x", "y")])].concat()),
        ("a body where none", bad, 1, [head(1, 0, &[(":status", "204")]), data(1, END, b"x")].concat()),
        ("not a number", bad, 1, length("five")),
        ("without a status", bad, 1, head(1, 0, &[("x", "y")])),
        ("switched protocols", bad, 1, head(1, 0, &[(":status", "101")])),
        ("an interim answer", bad, 1, head(1, END, &[(":status", "100")])),
        ("a second head", bad, 1, [ok_head.clone(), head(1, 0, &[("x", "y")])].concat()),
        ("does not allow", bad, 1, [ok_head.clone(), head(1, END, &[status])].concat()),
        ("HTTP/1 connections", bad, 1, head(1, END, &[status, ("transfer-encoding", "chunked")])),
        ("WINDOW_UPDATE by 0", bad, 1, number(kind::WINDOW_UPDATE, 1, 0)),
        ("a window larger", bad, 3, number(kind::WINDOW_UPDATE, 1, MAX_31)),
        ("larger than max_answer", too_large, 8, length("9999999")),
        ("larger than max_answer", too_large, 8, [ok_head, too_much].concat()),
        ("128 headers", too_large, 8, head(1, 0, &many)),
        ("64 KiB", too_large, 8, long.concat()),
        ("64 KiB", too_large, 8, [frame(kind::HEADERS, 0, 1, b"\x88"), flood, end_headers].concat()),
        ("64 KiB", too_large, 8, interim),
    ];
    for (words, class, code, wire) in cases {
        let mut s = session(2);
        s.receive(&wire);
        s.receive(&ok(3, "fine"));
        let seen = events(&mut s);
        assert!(
            matches!(&seen[..], [Event::StreamFailed(0, c, why), Event::Answered(1)] if *c == class && why.contains(words)),
            "{words}: {seen:?}"
        );
        let resets: Vec<_> = sent(&mut s).into_iter().filter(|f| f.0 == kind::RST_STREAM).collect();
        assert_eq!(resets, [(kind::RST_STREAM, 0, 1, code.to_be_bytes().to_vec())], "{words}");
    }
}

/// A connection against the rules fails with all that is on it, and the peer hears why.
#[test]
fn a_peer_against_the_protocol_has_a_class() {
    let end = flag::END_HEADERS;
    let open_block = frame(kind::HEADERS, 0, 1, b"\x88");
    let endless = [open_block.clone(), frame(kind::CONTINUATION, 0, 1, &[0; PAYLOAD_MAX]).repeat(65)].concat();
    let set = |name, value| settings(&[(name, value)]);
    let cases: Vec<(&str, u32, Vec<u8>)> = vec![
        ("PUSH_PROMISE", 1, frame(kind::PUSH_PROMISE, end, 1, &[0, 0, 0, 2, 0x82])),
        ("on stream 0", 1, data(0, 0, b"x")),
        ("on stream 0", 1, head(0, 0, &[])),
        ("on stream 0", 1, number(kind::RST_STREAM, 0, 0)),
        ("PRIORITY of no stream", 1, frame(kind::PRIORITY, 0, 0, &[0; 5])),
        ("SETTINGS of a stream", 1, frame(kind::SETTINGS, 0, 1, b"")),
        ("PING of a stream", 1, frame(kind::PING, 0, 1, &[0; 8])),
        ("GOAWAY of a stream", 1, frame(kind::GOAWAY, 0, 1, &[0; 8])),
        ("never begun", 1, data(5, 0, b"x")),
        ("never begun", 1, head(2, 0, &[])),
        ("never begun", 1, number(kind::RST_STREAM, 7, 0)),
        ("never begun", 1, number(kind::WINDOW_UPDATE, 9, 1)),
        ("larger than 16 KiB", 6, data(1, 0, &[0; PAYLOAD_MAX + 1])),
        ("larger than 16 KiB", 6, frame(kind::PING, 0, 0, &[0; PAYLOAD_MAX + 1])),
        ("PING that is not", 6, frame(kind::PING, 0, 0, &[0; 7])),
        ("RST_STREAM that is not", 6, frame(kind::RST_STREAM, 0, 1, &[0; 5])),
        ("WINDOW_UPDATE that is not", 6, frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("GOAWAY shorter", 6, frame(kind::GOAWAY, 0, 0, &[0; 7])),
        ("amid a setting", 6, frame(kind::SETTINGS, 0, 0, &[0; 7])),
        ("with an acknowledgement", 6, frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])),
        ("pushed to", 1, set(setting::ENABLE_PUSH, 1)),
        ("frame size", 1, set(setting::MAX_FRAME_SIZE, 16_383)),
        ("frame size", 1, set(setting::MAX_FRAME_SIZE, 1 << 24)),
        ("a window larger", 3, set(setting::INITIAL_WINDOW_SIZE, 1 << 31)),
        ("a window larger", 3, [number(kind::WINDOW_UPDATE, 1, 100_000), set(4, MAX_31)].concat()),
        ("a window larger", 3, number(kind::WINDOW_UPDATE, 0, MAX_31)),
        ("WINDOW_UPDATE by 0", 1, number(kind::WINDOW_UPDATE, 0, 0)),
        ("more padding", 1, frame(kind::DATA, flag::PADDED, 1, b"\x02a")),
        ("more padding", 1, frame(kind::HEADERS, flag::PADDED | end, 1, b"\x02a")),
        ("without a padding", 6, frame(kind::DATA, flag::PADDED, 1, b"")),
        ("without a padding", 6, frame(kind::HEADERS, flag::PADDED | end, 1, b"")),
        ("amid its priority", 6, frame(kind::HEADERS, flag::PRIORITY | end, 1, b"1234")),
        ("of no header block", 1, frame(kind::CONTINUATION, end, 1, b"")),
        ("amid a header block", 1, [open_block.clone(), data(1, 0, b"x")].concat()),
        ("amid a header block", 1, [open_block, frame(kind::CONTINUATION, end, 3, b"")].concat()),
        ("dynamic table", 9, frame(kind::HEADERS, end, 1, &[0x88, 0xbe])),
        ("header table larger", 9, frame(kind::HEADERS, end, 1, &[0x3f, 0xe1, 0x1f, 0x88])),
        ("amid a string", 9, frame(kind::HEADERS, end, 1, &[0x08, 0x7e])),
        ("Huffman", 9, frame(kind::HEADERS, end, 1, &[0x08, 0x81, 0xff])),
        ("endless header block", 11, endless),
    ];
    for (words, code, wire) in cases {
        for piece in [1, wire.len()] {
            let mut s = session(2);
            for part in wire.chunks(piece) {
                s.receive(part);
            }
            let seen = events(&mut s);
            let Some(Event::Failed(class, why)) = seen.last() else { panic!("{words}: {seen:?}") };
            assert!(why.contains(words), "{words}: {why}");
            assert_eq!(*class, if code == 11 { ErrorClass::TooLarge } else { ErrorClass::BadAnswer }, "{words}");
            assert_eq!(seen.len(), 3, "each of two streams, and the connection: {seen:?}");
            let last = sent(&mut s).pop().unwrap();
            assert_eq!((last.0, &last.3[4..]), (kind::GOAWAY, &code.to_be_bytes()[..]), "{words}");
            assert!(s.is_over());
        }
    }
}

#[test]
fn a_peer_that_speaks_something_else_is_told_so() {
    let h1 = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let other = "the peer does not speak HTTP/2: its first frame is not SETTINGS";
    for (wire, why) in [(h1, "the peer speaks HTTP/1"), ("SSH-2.0-OpenSSH\r\n", other), ("\0\0\0\0\0\0\0\0\0", other)] {
        for piece in [1, 100] {
            let mut s = Session::new(requests("GET", &[b""]), MAX, 10);
            s.begin(0);
            for part in wire.as_bytes().chunks(piece) {
                s.receive(part);
            }
            assert_eq!(events(&mut s), failed(ErrorClass::BadAnswer, why), "{wire:?}");
        }
    }
}

#[test]
fn a_flood_that_asks_for_replies_is_cut_off() {
    let ping = frame(kind::PING, 0, 0, b"12345678");
    for flood in [ping.clone(), settings(&[]), [head(1, 0, &[]), ping].concat()] {
        let mut s = session(1);
        for _ in 0..20_000 {
            s.receive(&flood);
        }
        let seen = events(&mut s);
        let Some(Event::Failed(ErrorClass::BadAnswer, why)) = seen.last() else { panic!("{seen:?}") };
        assert!(why.contains("does not read"), "{why}");
        assert!(s.outgoing().len() < REPLIES_MAX + 1000);
    }
    // The same from a peer that reads is only strange.
    let mut s = session(1);
    for _ in 0..20_000 {
        s.receive(&settings(&[]));
        s.sent(s.outgoing().len());
    }
    s.receive(&ok(1, "after all"));
    assert_eq!(events(&mut s), [Event::Answered(0)]);
}

/// Three requests, these octets in these pieces, then a close: all that was seen, with the answers.
fn play(wire: &[u8], piece: usize) -> Vec<(Event, Option<(u16, String)>)> {
    let mut s = Session::new(requests("POST", &[b"hello"]), 300, 10);
    for _ in 0..3 {
        s.begin(0);
    }
    let mut seen = Vec::new();
    let mut note = |s: &mut Session| {
        while let Some(event) = s.next_event() {
            let got = if let Event::Answered(slot) = event { Some(answer(s, slot)) } else { None };
            seen.push((event, got));
        }
    };
    for part in wire.chunks(piece) {
        s.receive(part);
        note(&mut s);
        s.sent(s.outgoing().len());
    }
    s.closed();
    note(&mut s);
    for slot in 0..3 {
        s.release(slot);
    }
    assert!(s.is_over());
    seen
}

/// Each request has one end, and the connection's comes last.
fn check_ends(seen: &[(Event, Option<(u16, String)>)]) {
    let mut ends = [0; 3];
    for (event, _) in &seen[..seen.len() - 1] {
        match event {
            Event::Answered(slot) | Event::StreamFailed(slot, ..) => ends[*slot as usize] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends, [1; 3], "{seen:?}");
    assert!(matches!(seen.last(), Some((Event::Failed(..), None))), "{seen:?}");
}

/// Frames that mean something, more often than not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        Just(block(&[(":status", "200")])),
        Just(block(&[(":status", "200"), ("content-length", "4")])),
        Just(block(&[("x", "y")])),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0; 8]),
        Just(vec![b'x'; 200]),
    ];
    let stream = prop_oneof![Just(0u32), Just(1), Just(3), Just(5), Just(2), Just(7)];
    let flags = prop_oneof![Just(0u8), Just(1), Just(4), Just(5), any::<u8>()];
    (0u8..11, flags, stream, payload).prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..40) {
        check_ends(&play(&bytes, piece));
        check_ends(&play(&[settings(&[]), bytes].concat(), piece));
    }

    #[test]
    fn any_frames_mean_the_same_in_any_pieces(
        frames in prop::collection::vec(any_frame(), 0..12), piece in 1usize..40, cut in 0usize..40
    ) {
        let mut wire = [settings(&[]), frames.concat()].concat();
        wire.truncate(wire.len() - cut.min(wire.len()));
        let seen = play(&wire, piece);
        check_ends(&seen);
        prop_assert_eq!(seen, play(&wire, 1 << 20));
    }

    #[test]
    fn a_good_exchange_with_one_wrong_octet_is_survived(at in any::<prop::sample::Index>(), octet: u8, piece in 1usize..40) {
        let mut wire = [rich_answer(), ok(3, "three"), ok(5, "five"), goaway(5, 0, "bye")].concat();
        let at = at.index(wire.len());
        wire[at] = octet;
        check_ends(&play(&wire, piece));
    }
}

/// Against a server that others wrote; `tests/real/50-http2.sh` starts it and these.
mod real {
    use super::*;

    /// The server of `RESBENCH_H2_PEER`, `host:port`.
    fn connect() -> TcpStream {
        let peer = std::env::var("RESBENCH_H2_PEER").expect("RESBENCH_H2_PEER names the server: host:port");
        let socket = TcpStream::connect(peer).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        socket
    }

    fn requests(method: &str, path: &str, bodies: &[&[u8]]) -> Arc<Requests> {
        let target = target(Protocol::Http, AnswerPaths::default());
        Arc::new(Requests::with_bodies(&target, &url(path), method, "text/plain", bodies.iter().copied()))
    }

    /// Keeps `at_once` requests going until `count` were begun or there is no room any more, then until all have ended.
    /// Calls `look` with the row and the answer of each, or with why there is none; gives how many ended.
    fn drive(
        s: &mut Session,
        count: usize,
        at_once: usize,
        mut look: impl FnMut(usize, Result<(u16, &[u8]), &str>),
    ) -> usize {
        let mut socket = connect();
        let (mut begun, mut ended, mut buffer) = (0, 0, vec![0; 32 << 10]);
        let mut row_of = vec![0; at_once];
        loop {
            while begun < count && begun - ended < at_once && s.room() > 0 {
                let row = begun % s.requests.len();
                row_of[s.begin(row) as usize] = row;
                begun += 1;
            }
            while !s.outgoing().is_empty() {
                // Less than there is, so that writes are cut as a full socket cuts them.
                let n = socket.write(&s.outgoing()[..s.outgoing().len().min(9000)]).unwrap();
                s.sent(n);
            }
            if begun == ended && (begun == count || s.is_over()) {
                return ended;
            }
            match socket.read(&mut buffer).expect("the server answers within 30 s") {
                0 => s.closed(),
                n => s.receive(&buffer[..n]),
            }
            while let Some(event) = s.next_event() {
                let slot = match &event {
                    Event::Answered(slot) => {
                        s.with_answer(*slot, |a| look(row_of[*slot as usize], Ok((a.status, a.body))));
                        *slot
                    }
                    Event::StreamFailed(slot, _, why) => {
                        look(row_of[*slot as usize], Err(why));
                        *slot
                    }
                    Event::Failed(..) => continue,
                };
                s.release(slot);
                ended += 1;
            }
        }
    }

    #[test]
    #[ignore = "needs a server: tests/real/50-http2.sh"]
    fn every_request_is_answered() {
        for at_once in [1, 10, 100] {
            let mut s = Session::new(requests("GET", "/small", &[b""]), MAX, at_once);
            let ended = drive(&mut s, 5000, at_once, |_, got| assert_eq!(got, Ok((200, &b"a small answer\n"[..]))));
            assert_eq!(ended, 5000);
        }
        let mut s = Session::new(requests("GET", "/large", &[b""]), 4 << 20, 8);
        let good = |_, got: Result<(u16, &[u8]), &str>| {
            let (status, body) = got.unwrap();
            assert!(status == 200 && body.len() == 3_000_000 && body.iter().all(|b| *b == b'x'));
        };
        assert_eq!(drive(&mut s, 40, 8, good), 40);
        let mut s = Session::new(requests("GET", "/large", &[b""]), 1 << 20, 8);
        let why = Err("the answer is larger than max_answer");
        assert_eq!(drive(&mut s, 40, 8, |_, got| assert_eq!(got, why)), 40);
        let mut s = Session::new(requests("HEAD", "/large", &[b""]), MAX, 8);
        assert_eq!(drive(&mut s, 40, 8, |_, got| assert_eq!(got, Ok((200, &b""[..])))), 40);
    }

    #[test]
    #[ignore = "needs a server: tests/real/50-http2.sh"]
    fn every_upload_comes_back_whole() {
        let bodies: Vec<Vec<u8>> = [1, 100, 16_384, 16_385, 65_535, 65_536, 500_000]
            .iter()
            .enumerate()
            .map(|(row, n)| (0..*n).map(|at| (at * 7 + row) as u8).collect())
            .collect();
        let views: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let mut s = Session::new(requests("POST", "/echo", &views), MAX, 12);
        let ended = drive(&mut s, 280, 12, |row, got| assert!(got == Ok((200, &bodies[row][..])), "row {row}"));
        assert_eq!(ended, 280);
    }

    /// The server ends every connection after 100 requests.
    #[test]
    #[ignore = "needs a server: tests/real/50-http2.sh"]
    fn a_server_that_leaves_answers_or_says_that_it_did_not() {
        let mut s = Session::new(requests("GET", "/small", &[b""]), MAX, 20);
        let (mut answered, mut never) = (0, 0);
        let ended = drive(&mut s, 1000, 20, |_, got| match got {
            Ok((200, b"a small answer\n")) => answered += 1,
            Err(why) if why.contains("GOAWAY (NO_ERROR)") => never += 1,
            other => panic!("{other:?}"),
        });
        assert_eq!((ended, s.room(), s.is_over()), (answered + never, 0, true));
        assert!((100..200).contains(&answered), "{answered} answered, {never} never processed");
    }
}
