//! OpenAI's chat completions: `POST /v1/chat/completions`, answered by a stream of tokens or by one JSON document.
//!
//! A *token* here is a chunk whose delta has something in it (content, reasoning, a tool call, a refusal): what a client can
//! see and time. Servers may put several tokens of their model into one chunk, so the *number* of output tokens is
//! the server's own `usage.completion_tokens` where it says so, else the number of chunks.
//!
//! Times are those at which bytes were read. Tokens that were read at once came at once: the gaps between them are 0, as
//! genai-perf and vLLM's benchmark count them too. Each event is walked where it lies, without a tree; one allocation is made
//! (by serde_json) where a text holds an escape such as `\n`.
//!
//! Owns bodies and meaning; leaves alone framing (`sse.rs`), clocks (the caller says when) and counting (`record/`).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::hist::bucket_of;
use crate::plan::{Chat, Dataset};
use crate::target::sse::{Event, LINE_MAX, Parser};
use crate::target::{Scalar, scalar_at};

/// The column of a dataset that is sent.
const PROMPT: &str = "prompt";

/// Appends one row as a chat of one message whose answer is to be streamed, with its usage.
pub(super) fn encode(chat: &Chat, table: &Dataset, row: &[String], out: &mut Vec<u8>) {
    let column = table.columns.iter().position(|c| c == PROMPT);
    let prompt = column.map_or("", |column| row[column].as_str());
    let text = |out: &mut Vec<u8>, text: &str| serde_json::to_writer(out, text).expect("writing to memory");
    out.extend_from_slice(br#"{"model":"#);
    text(out, &chat.model);
    out.extend_from_slice(br#","messages":[{"role":"user","content":"#);
    text(out, prompt);
    out.extend_from_slice(br#"}],"stream":true,"stream_options":{"include_usage":true}"#);
    if let Some(max) = chat.max_tokens {
        out.extend_from_slice(format!(r#","max_tokens":{max}"#).as_bytes());
    }
    out.push(b'}');
}

/// Does this body ask for a stream?
pub(super) fn asks_for_stream(body: &[u8]) -> bool {
    scalar_at(body, "/stream") == Some(Scalar::Bool(true))
}

/// What a good answer said in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens<'a> {
    /// When the first was read, ns since the start of the run; none where the answer was no stream.
    pub first: Option<u64>,
    /// Output tokens: as the server counts them, else chunks with something in them. 0 where nobody said.
    pub count: u64,
    /// From one token to the next, as bucket indices (`hist::bucket_of`), in order.
    pub gaps: &'a [u16],
    /// Exact sum of the gaps, ns.
    pub gaps_sum: u64,
    /// Exact maximum of the gaps, ns.
    pub gaps_max: u64,
}

/// One streamed answer while it comes in. Made once per connection and used again for every answer.
#[derive(Debug, Default)]
pub struct TokenStream {
    parser: Parser,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    tokens: u64,
    first: u64,
    last: u64,
    gaps: Vec<u16>,
    gaps_sum: u64,
    gaps_max: u64,
    /// A finish reason came.
    finished: bool,
    /// `[DONE]` came.
    done: bool,
    /// What the server says that it made.
    usage: Option<u64>,
    /// The first thing that was not as promised.
    wrong: Option<Cow<'static, str>>,
}

impl TokenStream {
    /// Ready for the next answer, with the buffers of the last.
    pub fn reset(&mut self) {
        self.parser.reset();
        self.seen.gaps.clear();
        self.seen = Seen { gaps: std::mem::take(&mut self.seen.gaps), ..Seen::default() };
    }

    /// Takes the next bytes of the body, read at `at` (ns since the start of the run, never falling).
    pub fn feed(&mut self, bytes: &[u8], at: u64) {
        let seen = &mut self.seen;
        if self.parser.feed(bytes, |event| seen.event(event, at)).is_err() {
            let limit = LINE_MAX >> 10;
            seen.wrong.get_or_insert_with(|| format!("an event of the stream is larger than {limit} KiB").into());
        }
    }

    /// Chunks with something in them, so far.
    pub fn tokens(&self) -> u64 {
        self.seen.tokens
    }

    /// What a whole and good stream said.
    ///
    /// # Errors
    /// Why it is not good, in words.
    pub fn judge(&self) -> Result<Tokens<'_>, Cow<'static, str>> {
        let seen = &self.seen;
        if let Some(wrong) = &seen.wrong {
            return Err(wrong.clone());
        }
        let after = || format!("after {} token{}", seen.tokens, if seen.tokens == 1 { "" } else { "s" });
        // Some servers close right after the last line instead of ending its event.
        if !seen.done && self.parser.pending() != Some(b"[DONE]") {
            return Err(format!("the stream ended without [DONE] {}", after()).into());
        }
        if !seen.finished {
            return Err(format!("the stream ended without a finish_reason {}", after()).into());
        }
        if seen.tokens == 0 {
            return Err("the stream held no token".into());
        }
        Ok(Tokens {
            first: Some(seen.first),
            count: seen.usage.unwrap_or(seen.tokens),
            gaps: &seen.gaps,
            gaps_sum: seen.gaps_sum,
            gaps_max: seen.gaps_max,
        })
    }
}

impl Seen {
    fn event(&mut self, event: Event<'_>, at: u64) {
        if self.done || self.wrong.is_some() {
            return;
        }
        if event.data == b"[DONE]" {
            self.done = true;
            return;
        }
        let chunk = match serde_json::from_slice::<Said>(event.data) {
            Ok(chunk) => chunk,
            Err(e) => {
                self.wrong = Some(format!("an event of the stream is not a JSON chunk: {e}").into());
                return;
            }
        };
        if chunk.error.0 || event.name == b"error" {
            self.wrong = Some(error_in(event.data, "the stream"));
            return;
        }
        self.finished |= chunk.choices.finished;
        self.usage = chunk.usage.and_then(|u| u.completion_tokens).or(self.usage);
        if chunk.choices.delta {
            self.token(at);
        }
    }

    fn token(&mut self, at: u64) {
        if self.tokens == 0 {
            self.first = at;
        } else {
            let gap = at.saturating_sub(self.last);
            self.gaps.push(bucket_of(gap));
            self.gaps_sum += gap;
            self.gaps_max = self.gaps_max.max(gap);
        }
        self.last = at;
        self.tokens += 1;
    }
}

/// Judges an answer that is no stream: one JSON document with a message in it.
pub(super) fn check_whole(body: &[u8]) -> Result<Tokens<'static>, Cow<'static, str>> {
    let said: Said = serde_json::from_slice(body).map_err(|_| "the answer is not a JSON chat completion")?;
    if said.error.0 {
        return Err(error_in(body, "the answer"));
    }
    if !said.choices.message {
        return Err("no choices[0].message with something in it in the answer".into());
    }
    Ok(Tokens { count: said.usage.and_then(|u| u.completion_tokens).unwrap_or(0), ..Tokens::default() })
}

fn error_in(json: &[u8], what: &str) -> Cow<'static, str> {
    let message = ["/error/message", "/message", "/error"].iter().find_map(|at| match scalar_at(json, at) {
        Some(Scalar::Text(text)) => Some(text),
        _ => None,
    });
    format!("{what} says error: {}", message.as_deref().unwrap_or("no message")).into()
}

/// What matters of a chunk, and of a whole answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    choices: Choices,
    usage: Option<Usage>,
    error: Filled,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    completion_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Option<Message>,
    message: Option<Message>,
    finish_reason: Filled,
}

/// The parts of a message that a client can see. Names beside OpenAI's own are those of vLLM, SGLang and DeepSeek.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Filled,
    reasoning_content: Filled,
    reasoning: Filled,
    tool_calls: Filled,
    function_call: Filled,
    refusal: Filled,
}

impl Message {
    fn says_something(&self) -> bool {
        let all = [
            &self.content,
            &self.reasoning_content,
            &self.reasoning,
            &self.tool_calls,
            &self.function_call,
            &self.refusal,
        ];
        all.iter().any(|part| part.0)
    }
}

/// Over all choices.
#[derive(Default)]
struct Choices {
    delta: bool,
    message: bool,
    finished: bool,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Choices, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("choices")
            }

            fn visit_unit<E>(self) -> Result<Choices, E> {
                Ok(Choices::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices, A::Error> {
                let mut all = Choices::default();
                while let Some(choice) = seq.next_element::<Choice>()? {
                    let says = |message: &Option<Message>| message.as_ref().is_some_and(Message::says_something);
                    all.delta |= says(&choice.delta);
                    all.message |= says(&choice.message);
                    all.finished |= choice.finish_reason.0;
                }
                Ok(all)
            }
        }
        d.deserialize_any(All)
    }
}

/// Is there anything? Not for null, an empty text, an empty list or an empty object.
#[derive(Default)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Filled, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Filled, A::Error> {
                let mut any = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Filled(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut any = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Filled(any))
            }
        }
        d.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::bucket_top;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn chunk(delta: &str, finish: &str) -> String {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
             \"finish_reason\":{finish}}}]}}\n\n"
        )
    }

    fn content(text: &str) -> String {
        chunk(&format!("{{\"content\":\"{text}\"}}"), "null")
    }

    /// What OpenAI's own servers send: role first, usage last.
    fn good(tokens: usize) -> Vec<String> {
        let mut all = vec![chunk("{\"role\":\"assistant\",\"content\":\"\"}", "null")];
        all.extend((0..tokens).map(|n| content(&format!(" w{n}"))));
        all.push(chunk("{}", "\"stop\""));
        all.push("data: [DONE]\n\n".to_owned());
        all
    }

    fn fed(events: &[String]) -> TokenStream {
        let mut stream = TokenStream::default();
        events.iter().enumerate().for_each(|(n, e)| stream.feed(e.as_bytes(), (100 + 10 * n as u64) * MS));
        stream
    }

    fn why(events: &[String]) -> String {
        fed(events).judge().unwrap_err().into_owned()
    }

    #[test]
    fn tokens_are_timed_when_they_are_read() {
        let stream = fed(&good(3));
        let tokens = stream.judge().unwrap();
        // The role came at 100 ms and is no token.
        assert_eq!((tokens.first, tokens.count), (Some(110 * MS), 3));
        assert_eq!((tokens.gaps.len(), tokens.gaps_sum, tokens.gaps_max), (2, 20 * MS, 10 * MS));
        assert!(tokens.gaps.iter().all(|g| bucket_top(*g).abs_diff(10 * MS) < MS / 10));
    }

    #[test]
    fn tokens_read_at_once_have_no_gap() {
        let mut stream = TokenStream::default();
        stream.feed(good(4).concat().as_bytes(), 7 * MS);
        let tokens = stream.judge().unwrap();
        assert_eq!((tokens.first, tokens.gaps, tokens.gaps_sum), (Some(7 * MS), &[0, 0, 0][..], 0));
    }

    #[test]
    fn the_servers_own_count_is_believed() {
        let mut events = good(2);
        let usage =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":9,\"total_tokens\":14}}\n\n";
        events.insert(4, usage.to_owned());
        assert_eq!(fed(&events).judge().unwrap().count, 9);
        events[4] = "data: {\"choices\":[],\"usage\":null}\n\n".to_owned();
        assert_eq!(fed(&events).judge().unwrap().count, 2);
    }

    #[test]
    fn whatever_a_client_can_see_is_a_token() {
        for (delta, is) in [
            ("{\"content\":\"a\"}", true),
            ("{\"content\":\"\\n\"}", true),
            ("{\"content\":null,\"reasoning_content\":\"hm\"}", true),
            ("{\"reasoning\":\"hm\"}", true),
            ("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}", true),
            ("{\"function_call\":{\"name\":\"f\"}}", true),
            ("{\"refusal\":\"no\"}", true),
            ("{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[]}", false),
            ("{}", false),
            ("null", false),
        ] {
            assert_eq!(fed(&[chunk(delta, "null")]).tokens(), u64::from(is), "{delta}");
        }
    }

    #[test]
    fn a_stream_that_is_not_whole_is_not_good() {
        let cut = |keep: usize| why(&good(17)[..keep]);
        assert_eq!(cut(18), "the stream ended without [DONE] after 17 tokens");
        assert_eq!(cut(2), "the stream ended without [DONE] after 1 token");
        assert_eq!(cut(0), "the stream ended without [DONE] after 0 tokens");
        let mut events = good(2);
        events.remove(3);
        assert_eq!(why(&events), "the stream ended without a finish_reason after 2 tokens");
        assert_eq!(why(&good(0)), "the stream held no token");
        // A last line without the empty one after it is all there; a line that was cut is not.
        let mut events = good(2);
        events[4] = "data: [DONE]\n".to_owned();
        assert!(fed(&events).judge().is_ok());
        events[4] = "data: [DONE]".to_owned();
        assert_eq!(why(&events), "the stream ended without [DONE] after 2 tokens");
    }

    #[test]
    fn errors_inside_a_stream_are_found() {
        let with = |event: &str| {
            let mut events = good(2);
            events.insert(2, event.to_owned());
            why(&events)
        };
        let error = with("data: {\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\"}}\n\n");
        assert_eq!(error, "the stream says error: out of memory");
        assert_eq!(with("event: error\ndata: {\"message\":\"late\"}\n\n"), "the stream says error: late");
        assert!(with("data: <html>\n\n").starts_with("an event of the stream is not a JSON chunk: "));
        assert!(with("data: {\"choices\":[{\"delta\n\n").contains("not a JSON chunk"));
        let long = format!("data: {}\n\n", "x".repeat(LINE_MAX));
        assert_eq!(with(&long), "an event of the stream is larger than 256 KiB");
    }

    #[test]
    fn a_stream_is_used_again() {
        let mut stream = fed(&good(3)[..2]);
        stream.reset();
        assert_eq!((stream.tokens(), stream.judge().is_err()), (0, true));
        stream.feed(good(2).concat().as_bytes(), MS);
        assert_eq!(stream.judge().unwrap(), Tokens { first: Some(MS), count: 2, gaps: &[0], gaps_sum: 0, gaps_max: 0 });
    }

    #[test]
    fn whole_answers_hold_a_message() {
        let answer = |message: &str| {
            format!(
                "{{\"choices\":[{{\"index\":0,\"message\":{message},\"finish_reason\":\"stop\"}}],\"usage\":{{\"completion_tokens\":4}}}}"
            )
        };
        let good = check_whole(answer("{\"role\":\"assistant\",\"content\":\"hi\"}").as_bytes()).unwrap();
        assert_eq!((good.first, good.count), (None, 4));
        for (body, wanted) in [
            (answer("{\"content\":\"\"}"), "no choices[0].message"),
            ("{}".to_owned(), "no choices[0].message"),
            ("<html>".to_owned(), "not a JSON chat completion"),
            ("{\"error\":{\"message\":\"no such model\"}}".to_owned(), "the answer says error: no such model"),
        ] {
            let error = check_whole(body.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{body}: {error}");
        }
    }

    #[test]
    fn rows_become_chats() {
        let table = Dataset {
            columns: vec!["topic".into(), "prompt".into()],
            rows: vec![vec!["x".into(), "Say \"hi\"\n".into()]],
            ..Dataset::default()
        };
        let mut out = Vec::new();
        encode(&Chat { model: "m\"1".into(), max_tokens: Some(64) }, &table, &table.rows[0], &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let wanted = serde_json::json!({
            "model": "m\"1", "messages": [{"role": "user", "content": "Say \"hi\"\n"}], "stream": true,
            "stream_options": {"include_usage": true}, "max_tokens": 64,
        });
        assert_eq!(json, wanted);
        assert!(asks_for_stream(&out));
        assert!(!asks_for_stream(b"{\"stream\":false}") && !asks_for_stream(b"{}"));
    }

    proptest! {
        #[test]
        fn any_split_is_judged_alike(tokens in 0usize..6, keep in 0usize..9, cuts in prop::collection::vec(0usize..1500, 0..9)) {
            let events = good(tokens);
            let text = events[..keep.min(events.len())].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let (mut pieces, mut whole) = (TokenStream::default(), TokenStream::default());
            cuts.windows(2).enumerate().for_each(|(n, w)| pieces.feed(&text.as_bytes()[w[0]..w[1]], n as u64));
            whole.feed(text.as_bytes(), 0);
            let count = |s: &TokenStream| s.judge().map(|t| (t.count, t.gaps.len()));
            prop_assert_eq!(count(&pieces), count(&whole));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), json in "data: [{}\\[\\]\",:a-z0-9]{0,60}\n\n") {
            let mut stream = TokenStream::default();
            stream.feed(&bytes, 1);
            stream.feed(json.as_bytes(), 2);
            let _ = stream.judge();
            let _ = check_whole(&bytes);
        }
    }
}
