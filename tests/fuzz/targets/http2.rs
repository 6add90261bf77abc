//! Any bytes as a peer's side of an HTTP/2 connection, in pieces of any size: the same events as in one piece, one end
//! for every request, never a panic.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use resbench::client::http2::{Event, Requests, Session};
use resbench::scenario::{LoadOptions, load_text};
use resbench::target::{Headers, RequestBodies};

const MAX_BODY: usize = 1 << 10;
const OPEN: usize = 4;

static REQUESTS: LazyLock<Arc<Requests>> = LazyLock::new(|| {
    let text = "name = \"fuzz\"\n[target]\nprotocol = \"mlflow\"\nurl = \"http://127.0.0.1:1/invocations\"\n\
                [traffic]\nbody = \"{}\"\n[[phase]]\nname = \"load\"\nduration = \"1s\"\nrate = 1\n";
    let plan = load_text(text, Path::new("fuzz.toml"), &LoadOptions::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render(false, 100)));
    let url = plan.target.url.as_ref().expect("it stands in the text");
    Arc::new(Requests::new(&plan.target, url, &RequestBodies::encode(&plan)))
});

/// An event, and the answer that it announces: status, headers, body.
type Seen = (Event, Option<(u16, Vec<(String, Vec<u8>)>, Vec<u8>)>);

fn play(bytes: &[u8], piece: usize) -> Vec<Seen> {
    let mut session = Session::new(REQUESTS.clone(), MAX_BODY, OPEN);
    for _ in 0..OPEN {
        session.begin(0);
    }
    let mut seen = Vec::new();
    let mut note = |session: &mut Session| {
        while let Some(event) = session.next_event() {
            let Event::Answered(slot) = event else {
                seen.push((event, None));
                continue;
            };
            let answer = session.with_answer(slot, |a| {
                assert!(a.body.len() <= MAX_BODY && a.status >= 200);
                let Headers::Fields(fields) = a.headers else { panic!("an HTTP/2 answer has fields") };
                let headers = fields.iter().map(|h| (h.name.to_owned(), h.value.to_owned())).collect();
                (a.status, headers, a.body.to_owned())
            });
            seen.push((event, Some(answer)));
        }
    };
    for part in bytes.chunks(piece) {
        session.receive(part);
        note(&mut session);
        // Half of it at most, so that something always waits.
        session.sent(session.outgoing().len() / 2);
        assert!(session.outgoing().len() < 1 << 20);
    }
    session.closed();
    note(&mut session);
    for slot in 0..OPEN as u32 {
        session.release(slot);
    }
    assert!(session.is_over() && session.room() == 0);
    seen
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = (usize::from(input.0) + 1, input.1);
    let seen = play(bytes, bytes.len().max(1));
    assert_eq!(seen, play(bytes, piece), "in pieces of {piece}");

    let (last, ends) = seen.split_last().expect("a close is an event");
    assert!(matches!(last.0, Event::Failed(..)));
    let mut slots: Vec<u32> = ends
        .iter()
        .map(|(event, _)| match event {
            Event::Answered(slot) | Event::StreamFailed(slot, ..) => *slot,
            other => panic!("{other:?}"),
        })
        .collect();
    slots.sort_unstable();
    assert!(slots.iter().copied().eq(0..OPEN as u32), "each request has one end: {slots:?}");
});
