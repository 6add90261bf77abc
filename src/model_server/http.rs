//! Connections and routes.
//!
//! Owns: accepting, the HTTP side of each path, readiness and the graceful stop. Leaves alone: what a
//! prediction is (`answer.rs`) and who works on it (`pool.rs`).

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answer::{Answer, Notes};
use super::chat::{self, ChatBody, Pace};
use super::feature_role::FeatureServer;
use super::metrics::Metrics;
use super::model::Model;
use super::model_registry::{Asked, Registry};
use super::pool::Pool;
use super::reload::Reloads;
use super::request::Format;
use super::{Options, open_inference, tf_serving};

/// Connections at the same time; further ones wait to be accepted.
const MAX_CONNECTIONS: u32 = 16_384;

/// How long what is in flight may take once the server was told to stop.
const GRACE: Duration = Duration::from_secs(1);

/// How long to wait when the system has no file for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a registry takes: names and numbers.
const MAX_REGISTRY_BODY: usize = 64 << 10;

/// How much of a body that is too large is read to its end, in bytes.
const MAX_DISCARD: usize = 64 << 20;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");
const FALLBACK_LEVEL: HeaderName = HeaderName::from_static("x-fallback-level");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const FEATURE_AGE: HeaderName = HeaderName::from_static("x-feature-age");

pub(super) type Reply = Response<Either<Full<Bytes>, ChatBody>>;

/// What answers at an address.
#[derive(Clone)]
pub(super) enum Site {
    /// The model server.
    Model(Arc<State>),
    /// A model registry: a dependency.
    Registry(Arc<Registry>),
    /// A feature store: a dependency.
    Features(Arc<FeatureServer>),
}

/// The model server as its connections see it.
pub(super) struct State {
    pool: Pool,
    max_body: usize,
    ready: AtomicBool,
    waiting: Mutex<String>,
    pace: Pace,
}

impl State {
    /// Not ready yet.
    pub(super) fn new(pool: Pool, options: &Options) -> State {
        let waiting = Mutex::new("starting".to_owned());
        let (max_body, pace) = (options.max_body, Pace::new(options));
        State { pool, max_body, ready: AtomicBool::new(false), waiting, pace }
    }

    /// How fast chats are answered.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Name of the model.
    pub(super) fn model_name(&self) -> String {
        self.model().name.clone()
    }

    /// The model that answers now.
    pub(super) fn model(&self) -> Arc<Model> {
        self.pool.serving().model()
    }

    /// From the next request on this one answers.
    pub(super) fn set_model(&self, model: Model) {
        self.pool.serving().set_model(model);
    }

    /// What became of the model that is followed.
    pub(super) fn reloads(&self) -> &Reloads {
        &self.pool.serving().reloads
    }

    /// What is counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.pool.serving().metrics
    }

    /// From now on predictions are answered.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Predictions are answered.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// From now on predictions are not answered, and why.
    pub(super) fn set_waiting(&self, why: &str) {
        self.still_waiting(why);
        self.ready.store(false, Ordering::Release);
    }

    /// Says why the server is not ready yet.
    pub(super) fn still_waiting(&self, why: &str) {
        why.clone_into(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The cheap check behind `/ping` and `/health`. It does not read the volume: a replica with a sick volume
    /// is one that answers errors, not one that is gone.
    fn check(&self) -> Result<(), Answer> {
        let unavailable = |why: &str| Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, why));
        if !self.ready.load(Ordering::Acquire) {
            unavailable(&self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
        } else if !self.pool.is_whole() {
            unavailable("a worker has died")
        } else {
            Ok(())
        }
    }
}

/// Accepts and serves until told to stop, then waits for what is in flight, at most [`GRACE`].
pub(super) async fn accept(listener: TcpListener, site: Site, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let stopped = stop.clone();
    tokio::select! {
        () = accept_all(&listener, &site, &slots, &stopped) => {}
        () = told(&mut stop) => {}
    }
    drop(listener);
    // Whoever holds a slot is still answering; those who outlast the grace are cut off with the runtime.
    let _ = tokio::time::timeout(GRACE, slots.acquire_many(MAX_CONNECTIONS)).await;
}

/// Ends when the server is told to stop. That nobody is left to tell it is a stop too.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Never ends by itself: the semaphore is never closed.
async fn accept_all(listener: &TcpListener, site: &Site, slots: &Arc<Semaphore>, stop: &watch::Receiver<bool>) {
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, site.clone(), stop.clone(), slot));
            }
            // The client has gone already, or the process is out of files: both pass.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, site: Site, mut stop: watch::Receiver<bool>, _slot: OwnedSemaphorePermit) {
    // Answers are small and whole; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| handle(&site, request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A connection that breaks is its client's business: there is nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn handle(site: &Site, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let state = match site {
        Site::Model(state) => state,
        Site::Registry(shelf) => return Ok(registry(shelf, request).await),
        Site::Features(server) => return Ok(features(server, request).await),
    };
    let mut reply = match request.uri().path() {
        "/invocations" => {
            let _inside = state.metrics().enter();
            let reply = invocations(state, request).await;
            state.metrics().answered(reply.status().as_u16());
            reply
        }
        "/ping" | "/health" => get(request.method(), || match state.check() {
            // MLflow answers with an empty line.
            Ok(()) => reply(StatusCode::OK, TEXT, "\n"),
            Err(answer) => reply(answer.status, JSON, answer.body),
        }),
        "/version" => get(request.method(), || reply(StatusCode::OK, TEXT, version(state))),
        "/metrics" => get(request.method(), || {
            let mut text = state.pool.serving().render(state.pool.queue_depth());
            if let Some(lost) = state.pool.log_losses() {
                text +=
                    &super::metrics::counter("prediction_log_losses_total", "Answers that could not be logged.", lost);
            }
            reply(StatusCode::OK, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"), text)
        }),
        "/v1/chat/completions" => {
            let _inside = state.metrics().enter();
            let reply = chat_completions(state, request).await;
            state.metrics().answered(reply.status().as_u16());
            reply
        }
        "/v1/models" => get(request.method(), || reply(StatusCode::OK, JSON, chat::models(&state.model_name()))),
        path => match (open_inference::path(path), tf_serving::path(path)) {
            (Some(asked), _) => open_inference(state, asked, request).await,
            (_, Some(asked)) => tf_serving(state, asked, request).await,
            (None, None) => {
                let paths = "paths here: /invocations, /v2/models/NAME/infer, /v1/models/NAME:predict, /v1/chat/completions, \
                             /v1/models, /ping, /health, /version, /metrics";
                error(StatusCode::NOT_FOUND, paths)
            }
        },
    };
    if !reply.headers().contains_key(MODEL_VERSION) {
        reply.headers_mut().insert(MODEL_VERSION, version_value(&state.model().version));
    }
    Ok(reply)
}

async fn invocations(state: &State, request: Request<Incoming>) -> Reply {
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    // A content type that is not text is unknown, not absent.
    let content_type = request.headers().get(CONTENT_TYPE).map(|v| v.to_str().unwrap_or("unreadable"));
    let Some(format) = Format::of(content_type) else {
        let message = "this predictor only supports the content types application/json and text/csv, in UTF-8";
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    };
    if let Err(answer) = state.check() {
        return reply(answer.status, JSON, answer.body);
    }
    match body(request.into_body(), state.max_body).await {
        Ok(body) => {
            let answer = state.pool.answer(format, body).await;
            let plain = reply(answer.status, JSON, answer.body.clone());
            with_notes(&answer, plain)
        }
        Err(reply) => reply,
    }
}

/// A reply and what its answer tells of itself, in whichever protocol.
fn with_notes(answer: &Answer, mut reply: Reply) -> Reply {
    if let Some(notes) = &answer.notes {
        tell(notes, reply.headers_mut());
    }
    reply
}

/// What an answer tells of itself, beside its body.
fn tell(notes: &Notes, headers: &mut HeaderMap) {
    headers.insert(FALLBACK_LEVEL, HeaderValue::from(u16::from(notes.level)));
    if let Some(version) = &notes.version {
        headers.insert(MODEL_VERSION, version_value(version));
    }
    if let Some(hit) = notes.cache {
        headers.insert(CACHE, HeaderValue::from_static(if hit { "hit" } else { "miss" }));
    }
    if let Some(age) = notes.age {
        let seconds = format!("{:.3}", age.as_secs_f64());
        headers.insert(FEATURE_AGE, HeaderValue::from_str(&seconds).unwrap_or(HeaderValue::from_static("0")));
    }
}

/// The model's version is visible ASCII; model.rs has checked it.
fn version_value(version: &str) -> HeaderValue {
    HeaderValue::from_str(version).unwrap_or(HeaderValue::from_static("unknown"))
}

async fn open_inference(state: &State, asked: open_inference::Path, request: Request<Incoming>) -> Reply {
    use open_inference::{Path, error};
    let ready = |state: &State, body: String| match state.check() {
        Ok(()) => reply(StatusCode::OK, JSON, body),
        Err(answer) => reply(answer.status, JSON, answer.body),
    };
    match asked {
        Path::Live => get(request.method(), || reply(StatusCode::OK, JSON, "{\"live\":true}")),
        Path::Ready => get(request.method(), || ready(state, "{\"ready\":true}".to_owned())),
        Path::Server => get(request.method(), || reply(StatusCode::OK, JSON, open_inference::server())),
        Path::Metadata => get(request.method(), || ready(state, open_inference::metadata(&state.model()))),
        Path::Infer if request.method() != Method::POST => not_allowed("POST"),
        Path::Infer => {
            let _inside = state.metrics().enter();
            let header =
                request.headers().get(open_inference::HEADER).map(|v| v.to_str().unwrap_or("unreadable").to_owned());
            let answered = match (state.check(), body(request.into_body(), state.max_body).await) {
                (Err(answer), _) => error(answer.status, "not ready yet"),
                (_, Err(reply)) => reply,
                (Ok(()), Ok(body)) => match open_inference::inward(&body, header.as_deref()) {
                    Ok((body, asked)) => {
                        let answer = state.pool.answer(Format::Json, body).await;
                        with_notes(&answer, open_inference::outward(&answer, &asked, &state.model()))
                    }
                    Err(problem) => error(StatusCode::BAD_REQUEST, &problem),
                },
            };
            state.metrics().answered(answered.status().as_u16());
            answered
        }
    }
}

async fn tf_serving(state: &State, asked: tf_serving::Path, request: Request<Incoming>) -> Reply {
    match asked {
        tf_serving::Path::Status => get(request.method(), || match state.check() {
            Ok(()) => reply(StatusCode::OK, JSON, tf_serving::status(&state.model())),
            Err(answer) => reply(answer.status, JSON, answer.body),
        }),
        tf_serving::Path::Predict if request.method() != Method::POST => not_allowed("POST"),
        tf_serving::Path::Predict => {
            let _inside = state.metrics().enter();
            let answered = match (state.check(), body(request.into_body(), state.max_body).await) {
                (Err(answer), _) => tf_serving::error(answer.status, "not ready yet"),
                (_, Err(reply)) => reply,
                (Ok(()), Ok(body)) => match tf_serving::inward(&body) {
                    Ok((body, by_columns)) => {
                        let answer = state.pool.answer(Format::Json, body).await;
                        with_notes(&answer, tf_serving::outward(&answer, by_columns))
                    }
                    Err(problem) => tf_serving::error(StatusCode::BAD_REQUEST, &problem),
                },
            };
            state.metrics().answered(answered.status().as_u16());
            answered
        }
    }
}

async fn chat_completions(state: &Arc<State>, request: Request<Incoming>) -> Reply {
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    if let Err(answer) = state.check() {
        return reply(answer.status, JSON, answer.body);
    }
    match body(request.into_body(), state.max_body).await {
        Ok(body) => chat::answer(state, &body).await,
        Err(reply) => reply,
    }
}

async fn body(mut body: Incoming, limit: usize) -> Result<Bytes, Reply> {
    match Limited::new(&mut body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => {
            discard(body).await;
            Err(error(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {limit} bytes")))
        }
        Err(e) => Err(error(StatusCode::BAD_REQUEST, &format!("the body broke off: {e}"))),
    }
}

/// Reads the rest of a body and forgets it. Closing a connection with unread bytes resets it, and the client
/// would see the reset in place of the answer. A body beyond the bound is not worth it.
async fn discard(mut body: Incoming) {
    let mut left = MAX_DISCARD;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}

async fn features(server: &FeatureServer, request: Request<Incoming>) -> Reply {
    let (head, incoming) = request.into_parts();
    match body(incoming, MAX_REGISTRY_BODY).await {
        Ok(body) => {
            let told = server.answer(&head.method, head.uri.path(), &body);
            reply(told.status, if told.json { JSON } else { TEXT }, told.body)
        }
        Err(reply) => reply,
    }
}

async fn registry(shelf: &Registry, request: Request<Incoming>) -> Reply {
    let (head, incoming) = request.into_parts();
    let body = match body(incoming, MAX_REGISTRY_BODY).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or(""));
    tokio::time::sleep(shelf.delay(path)).await;
    let told = shelf.answer(&Asked { method: &head.method, path, query, body: &body });
    reply(told.status, if told.json { JSON } else { HeaderValue::from_static("application/octet-stream") }, told.body)
}

fn version(state: &State) -> String {
    format!("resbench {} model v{}", env!("CARGO_PKG_VERSION"), state.model().version)
}

fn get(method: &Method, answer: impl FnOnce() -> Reply) -> Reply {
    // hyper leaves the body out of an answer to HEAD.
    if method == Method::GET || method == Method::HEAD { answer() } else { not_allowed("GET, HEAD") }
}

fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, &format!("use {methods} here"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

fn error(status: StatusCode, message: &str) -> Reply {
    let answer = Answer::error(status, message);
    reply(answer.status, JSON, answer.body)
}

pub(super) fn reply(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}
