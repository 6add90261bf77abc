//! Any bytes as an answer, in pieces of any size: read to the same end as in one piece, judged, never a panic.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use resbench::client::http1::{AnswerReader, Progress};
use resbench::scenario::{LoadOptions, load_text};
use resbench::target::{Checker, RequestBodies};

const MAX_BODY: usize = 1 << 10;

static JUDGE: LazyLock<(Checker, RequestBodies)> = LazyLock::new(|| {
    let text = "name = \"fuzz\"\n[target]\nprotocol = \"mlflow\"\nurl = \"http://127.0.0.1:1/invocations\"\n\
                answer = { version = \"header:x-model-version\", fallback = \"json:/fallback\" }\n\
                [traffic]\nbody = \"{}\"\n[[phase]]\nname = \"load\"\nduration = \"1s\"\nrate = 1\n";
    let plan = load_text(text, Path::new("fuzz.toml"), &LoadOptions::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render(false, 100)));
    (Checker::new(&plan.target), RequestBodies::encode(&plan))
});

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = (usize::from(input.0) + 1, input.1);
    let mut whole = AnswerReader::default();
    let at_once = whole.advance(bytes, MAX_BODY, false);

    let mut reader = AnswerReader::default();
    let mut in_pieces = Progress::Partial;
    for end in (piece..bytes.len() + piece).step_by(piece).map(|end| end.min(bytes.len())) {
        in_pieces = reader.advance(&bytes[..end], MAX_BODY, false);
        if in_pieces != Progress::Partial {
            break;
        }
    }
    match (at_once, in_pieces) {
        // Which limit is met first may depend on the pieces; that one is met does not.
        (Progress::Failed(..), Progress::Failed(..)) => {}
        (a, b) => assert_eq!(a, b, "in pieces of {piece}"),
    }
    if at_once == Progress::Partial {
        // The peer hangs up.
        assert_ne!(whole.closed(bytes), Progress::Partial);
    }
    if let Progress::Complete { used, .. } = in_pieces {
        assert!(used <= bytes.len());
        let (checker, bodies) = &*JUDGE;
        reader.with_answer(bytes, used, |answer| {
            assert!(answer.body.len() <= MAX_BODY);
            // Good or not, it is said without a panic.
            let _ = checker.check(answer, bodies, 0);
        });
    }
});
