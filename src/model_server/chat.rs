//! OpenAI's chat completions at a stated pace: `/v1/chat/completions`, streamed or whole, and `/v1/models`.
//!
//! Token k leaves at start + first token + k/rate: an absolute grid, so that late timers never add up to a slower
//! stream. Single tokens leave up to about a millisecond late (tokio's timers are that coarse), and tokens that came due
//! together leave together. A stream is a timer and some bytes on the one IO thread; it holds no worker of the pool.
//!
//! The words are made up; what is real is the shape and the time. Any model name is taken and given back. Owns the chat
//! protocol, outwards; leaves alone routes and bodies' limits (`http.rs`).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Either;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Options;
use super::http::{JSON, Reply, State, reply};
use crate::clock;

/// Tokens that one answer may have.
const MAX_TOKENS: u64 = 1_000_000;

/// Tokens written at once; a client that does not read makes them pile up.
const MAX_BURST: u64 = 1024;

/// What answers are made of: each is one token.
const WORDS: [&str; 16] = [
    " the", " service", " keeps", " its", " promise", " while", " one", " of", " many", " small", " things", " breaks",
    ",", " and", " comes", " back",
];

/// How fast chats are answered.
pub(super) struct Pace {
    first: Duration,
    per_second: f64,
    tokens: u32,
}

impl Pace {
    pub(super) fn new(options: &Options) -> Pace {
        Pace { first: options.first_token, per_second: options.tokens_per_second, tokens: options.tokens }
    }

    /// When a token leaves, from the start of its answer.
    fn due(&self, token: u64) -> Duration {
        self.first + Duration::from_secs_f64(token as f64 / self.per_second)
    }
}

#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "role")]
    _role: String,
    content: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What will be said.
struct Chat {
    /// The same in every chunk: id, time, model.
    id: String,
    created: i64,
    model: String,
    tokens: u64,
    prompt_tokens: usize,
    finish: &'static str,
}

impl Chat {
    /// From a request's body.
    fn plan(body: &[u8], pace: &Pace) -> Result<(Chat, Request), String> {
        let request: Request = serde_json::from_slice(body).map_err(|e| format!("the body is no chat request: {e}"))?;
        if request.messages.is_empty() {
            return Err("`messages` is empty: write at least one".to_owned());
        }
        if request.n.is_some_and(|n| n != 1) {
            return Err("`n` must be 1 here".to_owned());
        }
        let limit = request.max_completion_tokens.or(request.max_tokens);
        if !(1..=MAX_TOKENS).contains(&limit.unwrap_or(1)) {
            return Err(format!("the limit of tokens must be from 1 to {MAX_TOKENS}"));
        }
        let words = |m: &Message| match &m.content {
            Some(Value::String(text)) => text.split_whitespace().count(),
            Some(Value::Array(parts)) => parts.len(),
            _ => 0,
        };
        let chat = Chat {
            id: format!("chatcmpl-{:016x}", clock::monotonic_nanos()),
            created: (clock::wall_nanos() / 1_000_000_000) as i64,
            model: request.model.clone(),
            tokens: limit.unwrap_or(u64::from(pace.tokens)),
            prompt_tokens: request.messages.iter().map(words).sum(),
            finish: if limit.is_some() { "length" } else { "stop" },
        };
        Ok((chat, request))
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens as u64, self.tokens);
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    /// Appends one event.
    fn chunk(&self, out: &mut String, choices: &Value, usage: Option<Value>) {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "data: {chunk}\n\n");
    }

    fn whole(&self) -> String {
        let content: String = (0..self.tokens).map(word).collect();
        let message = json!({ "role": "assistant", "content": content, "refusal": null });
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": self.finish });
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model, "choices": [choice],
            "usage": self.usage(),
        })
        .to_string()
    }
}

fn word(token: u64) -> &'static str {
    WORDS[(token % WORDS.len() as u64) as usize]
}

fn choice(delta: &Value, finish: Option<&str>) -> Value {
    json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }])
}

/// Answers a chat request: a stream whose tokens follow, or everything at the time of the last token.
pub(super) async fn answer(state: &Arc<State>, body: &[u8]) -> Reply {
    let began = Instant::now();
    let (chat, request) = match Chat::plan(body, state.pace()) {
        Ok(planned) => planned,
        Err(problem) => {
            let error = json!({ "message": problem, "type": "invalid_request_error", "param": null, "code": null });
            return reply(StatusCode::BAD_REQUEST, JSON, json!({ "error": error }).to_string());
        }
    };
    if request.stream != Some(true) {
        sleep_until(began + state.pace().due(chat.tokens - 1)).await;
        state.metrics().tokens_sent(chat.tokens);
        return reply(StatusCode::OK, JSON, chat.whole());
    }
    let usage = request.stream_options.is_some_and(|o| o.include_usage);
    let mut reply = Response::new(Either::Right(ChatBody::new(state.clone(), chat, began, usage)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// The list of models: the one that is served.
pub(super) fn models(name: &str) -> String {
    let model = json!({ "id": name, "object": "model", "created": 0, "owned_by": "resbench" });
    json!({ "object": "list", "data": [model] }).to_string()
}

/// The events of one answer, each when it is due. It counts as in flight for as long as it lives.
pub(super) struct ChatBody {
    state: Arc<State>,
    chat: Chat,
    began: Instant,
    usage: bool,
    timer: Pin<Box<Sleep>>,
    greeted: bool,
    next: u64,
    over: bool,
}

impl ChatBody {
    fn new(state: Arc<State>, chat: Chat, began: Instant, usage: bool) -> ChatBody {
        state.metrics().stream_entered();
        let timer = Box::pin(sleep_until(began));
        ChatBody { state, chat, began, usage, timer, greeted: false, next: 0, over: false }
    }

    fn due(&self) -> Instant {
        self.began + self.state.pace().due(self.next)
    }

    /// Everything that is due by now.
    fn events(&mut self, now: Instant) -> String {
        let mut out = String::new();
        if !self.greeted {
            // The role comes at once, as many servers do it: it is no token, and whoever takes it for one measures nothing.
            self.greeted = true;
            self.chat.chunk(&mut out, &choice(&json!({ "role": "assistant", "content": "" }), None), None);
        }
        let first = self.next;
        while self.next < self.chat.tokens && self.next - first < MAX_BURST && self.due() <= now {
            self.chat.chunk(&mut out, &choice(&json!({ "content": word(self.next) }), None), None);
            self.next += 1;
        }
        self.state.metrics().tokens_sent(self.next - first);
        if self.next == self.chat.tokens {
            self.over = true;
            self.chat.chunk(&mut out, &choice(&json!({}), Some(self.chat.finish)), None);
            if self.usage {
                self.chat.chunk(&mut out, &json!([]), Some(self.chat.usage()));
            }
            out.push_str("data: [DONE]\n\n");
        }
        out
    }
}

impl Drop for ChatBody {
    fn drop(&mut self) {
        self.state.metrics().stream_left();
    }
}

impl Body for ChatBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while !self.over {
            let events = self.events(Instant::now());
            if !events.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(events)))));
            }
            let due = self.due();
            self.timer.as_mut().reset(due);
            ready!(self.timer.as_mut().poll(cx));
        }
        Poll::Ready(None)
    }
}
