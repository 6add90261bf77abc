//! A blocking view of one cluster's API: kubeconfig, one call at a time, watches on threads of their own.
//!
//! `kube` reads the kubeconfig (with every way to log in) and carries the bytes. Objects stay JSON: fault tools bring
//! kinds that no crate knows, and a few fields are all we read. Every call is bounded by [`LIMIT`], and a refusal is handed
//! over at once instead of being tried again out of sight: a 429 is how a PodDisruptionBudget says no.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How long a call may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Largest answer that is read, in bytes: a list of some thousand pods.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Longest line of a watch, in bytes: one object, which etcd keeps below 1.5 MiB.
const EVENT_LIMIT: usize = 8 * 1024 * 1024;

/// The server ends a watch after this many seconds, so that one whose connection died unseen does not hang for ever.
const WATCH_SECONDS: u64 = 240;

/// What a context is called when there is no kubeconfig and the pod's own service account is used.
pub const IN_CLUSTER: &str = "in-cluster";

/// One cluster, as one user. A cheap copy shares the connection.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    runtime: Handle,
    /// Dropped with the last copy, which ends the runtime's thread.
    _alive: oneshot::Sender<()>,
    context: String,
    server: String,
}

/// A call that was refused, or never arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status; 0 when there was no answer.
    pub code: u16,
    /// The API's word for it, as `NotFound`; `Unreachable` or `Timeout` when there was no answer.
    pub reason: String,
    /// What the API said, with its causes.
    pub message: String,
}

/// What came by on a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// An object appeared.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the object is its last state.
    Deleted,
    /// The watch had a gap and began anew: the value is the whole list. What is not in it is gone.
    Listed,
}

/// A watch that runs; dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    _alive: oneshot::Sender<()>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("context", &self.inner.context).field("server", &self.inner.server).finish()
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ApiError { code, reason, message } = self;
        match code {
            0 => f.write_str(message),
            _ => write!(f, "{message} ({code} {reason})"),
        }?;
        self.cure().map_or(Ok(()), |cure| write!(f, ": {cure}"))
    }
}

impl Error for ApiError {}

impl ApiError {
    /// There is no such object, or no such kind.
    pub fn not_found(&self) -> bool {
        self.code == 404
    }

    /// Nobody knows whether the call was carried out, or still will be: no answer came, or the server failed over it. Only a
    /// refusal is sure to have changed nothing.
    pub fn may_have_worked(&self) -> bool {
        !(400..500).contains(&self.code)
    }

    /// A webhook said no: not a matter of RBAC, though it shares the code.
    pub fn refused_by_webhook(&self) -> bool {
        self.message.contains("admission webhook")
    }

    fn cure(&self) -> Option<&'static str> {
        Some(match self.code {
            0 if ["Unreachable", "Timeout"].contains(&self.reason.as_str()) => {
                "is the cluster up, and may this machine reach it? `kubectl cluster-info` must answer"
            }
            401 | 403 if self.message.contains("system:anonymous") => {
                "the kubeconfig's user has no credentials that this server takes: log in again"
            }
            401 => "the credentials have expired or are wrong: log in again, then `kubectl auth whoami` must answer",
            403 if self.refused_by_webhook() => "the webhook's rules forbid it, not RBAC",
            403 => "a Role must allow that verb on that resource: `resbench doctor --rbac` prints it",
            404 if self.message.contains("the server could not find the requested resource") => {
                "the cluster does not serve this kind: is what it belongs to installed, in this version?"
            }
            404 => "check the name, the namespace and the context",
            409 => "it was changed or replaced meanwhile: look again",
            422 => "the API's schema refuses it",
            429 => "not now: the cluster asks to wait",
            500 if self.message.contains("failed calling webhook") => "the webhook's controller is down",
            _ => return None,
        })
    }

    fn lost(reason: &str, message: String) -> ApiError {
        ApiError { code: 0, reason: reason.to_owned(), message }
    }
}

impl Cluster {
    /// Connects by the kubeconfig (`KUBECONFIG`, else `~/.kube/config`; inside a pod without one, by its service account), and
    /// asks the API server once.
    ///
    /// # Errors
    /// No kubeconfig, an unknown context, expired credentials, nobody answering; with what to do.
    pub fn connect(context: Option<&str>) -> Result<Cluster, String> {
        let (name, config) = configuration(context)?;
        let cluster = Cluster::with(name, config)?;
        cluster.version().map_err(|e| format!("context {}: {e}", cluster.context()))?;
        Ok(cluster)
    }

    /// By this configuration; asks nobody.
    fn with(name: String, config: kube::Config) -> Result<Cluster, String> {
        let server = url_of(&config);
        let (alive, ended) = oneshot::channel::<()>();
        let (made, answer) = sync_channel(1);
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            match runtime.map_err(|e| e.to_string()) {
                Err(e) => drop(made.send(Err(e))),
                Ok(runtime) => {
                    let client = {
                        let _inside = runtime.enter();
                        kube::Client::try_from(config).map_err(|e| chain(&e))
                    };
                    let _ = made.send(client.map(|client| (client, runtime.handle().clone())));
                    let _ = runtime.block_on(ended);
                }
            }
        };
        std::thread::Builder::new().name("kubernetes".into()).spawn(run).map_err(|e| format!("no thread: {e}"))?;
        let (client, runtime) = answer
            .recv()
            .unwrap_or_else(|_| Err("its thread ended".to_owned()))
            .map_err(|e| format!("context {name}: {e}"))?;
        Ok(Cluster { inner: Arc::new(Inner { client, runtime, _alive: alive, context: name, server }) })
    }

    /// The context's name in the kubeconfig.
    pub fn context(&self) -> &str {
        &self.inner.context
    }

    /// The API server's URL, without a slash at the end.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The API server's version, as `v1.35.4`.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub fn version(&self) -> Result<String, ApiError> {
        Ok(self.get("/version")?["gitVersion"].as_str().unwrap_or("unknown").to_owned())
    }

    /// Reads an object or a list. `path` is absolute: `/api/v1/namespaces/a/pods?labelSelector=…` (see [`query`]).
    ///
    /// # Errors
    /// What the API answered instead.
    pub fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None, "")
    }

    /// Makes an object; `path` is its collection. Unknown fields are refused. A dry run goes through validation and every
    /// webhook, and keeps nothing.
    ///
    /// # Errors
    /// What the API answered instead.
    pub fn create(&self, path: &str, object: &Value, dry_run: bool) -> Result<Value, ApiError> {
        let all = if dry_run { "&dryRun=All" } else { "" };
        let path = format!("{path}{}fieldValidation=Strict&fieldManager=resbench{all}", joint(path));
        self.call(Method::POST, &path, Some(object), "application/json")
    }

    /// Changes an object by a JSON merge patch. Unknown fields are refused.
    ///
    /// # Errors
    /// What the API answered instead.
    pub fn patch_merge(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        let path = format!("{path}{}fieldValidation=Strict&fieldManager=resbench", joint(path));
        self.call(Method::PATCH, &path, Some(patch), "application/merge-patch+json")
    }

    /// Deletes an object, with `DeleteOptions` when given.
    ///
    /// # Errors
    /// What the API answered instead; 404 when it is not there.
    pub fn delete(&self, path: &str, options: Option<&Value>) -> Result<Value, ApiError> {
        self.call(Method::DELETE, path, options, "application/json")
    }

    /// Whether this user may do that (a SelfSubjectAccessReview); without a namespace: in all of them.
    ///
    /// # Errors
    /// When the API server cannot say.
    pub fn can(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        subresource: &str,
        namespace: Option<&str>,
    ) -> Result<bool, String> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                "namespace": namespace.unwrap_or_default(),
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.create(path, &review, false).map_err(|e| e.to_string())?;
        Ok(answer["status"]["allowed"].as_bool().unwrap_or(false))
    }

    /// Watches a collection (its path, selectors included) from a list's `resourceVersion` on. `on_event` is called on the
    /// watch's own thread, in order, until it answers false, the [`Watch`] is dropped, or the process ends. A connection that breaks
    /// is taken up where it ended; where the server forgot that far back, the whole list comes as [`WatchKind::Listed`].
    pub fn watch(
        &self,
        path: &str,
        resource_version: &str,
        mut on_event: impl FnMut(WatchKind, Value) -> bool + Send + 'static,
    ) -> Watch {
        let (alive, mut ended) = oneshot::channel::<()>();
        let (cluster, path, mut from) = (self.clone(), path.to_owned(), resource_version.to_owned());
        let run = move || {
            let handle = cluster.inner.runtime.clone();
            handle.block_on(async {
                tokio::select! {
                    _ = &mut ended => {}
                    () = cluster.follow(&path, &mut from, &mut on_event) => {}
                }
            });
        };
        // Without a thread there are no events, as with a cluster that does not answer.
        let _ = std::thread::Builder::new().name("kubernetes-watch".into()).spawn(run);
        Watch { _alive: alive }
    }

    /// Follows a collection until `on_event` has enough.
    async fn follow(&self, path: &str, from: &mut String, on_event: &mut impl FnMut(WatchKind, Value) -> bool) {
        loop {
            match self.follow_once(path, from, on_event).await {
                // A server that ends every watch at once must not be asked without a pause.
                Ok(true) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(false) => return,
                Err(error) => {
                    if error.code == 410 {
                        match self.answer(Method::GET, path, None, "").await {
                            Err(_) => {}
                            Ok(list) => {
                                *from = version_of(&list).to_owned();
                                if !on_event(WatchKind::Listed, list) {
                                    return;
                                }
                                continue;
                            }
                        }
                    }
                    // Nobody there, or told to wait: a moment, so that a dead server is not asked thousands of times.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    /// One connection of a watch: true when it ended in order.
    async fn follow_once(
        &self,
        path: &str,
        from: &mut String,
        on_event: &mut impl FnMut(WatchKind, Value) -> bool,
    ) -> Result<bool, ApiError> {
        let path = format!(
            "{path}{}watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={from}",
            joint(path)
        );
        let response = within(LIMIT, self.send(Method::GET, &path, None, "")).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let mut body = response.into_body();
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(frame) = within(Duration::from_secs(WATCH_SECONDS + 10), async {
            body.frame().await.transpose().map_err(|e| ApiError::lost("Unreachable", format!("the watch broke: {e}")))
        })
        .await?
        {
            let Ok(bytes) = frame.into_data() else { continue };
            buffer.extend_from_slice(&bytes);
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if !hand_over(&line, from, on_event)? {
                    return Ok(false);
                }
            }
            if buffer.len() > EVENT_LIMIT {
                return Err(ApiError::lost("TooLarge", format!("an event is larger than {EVENT_LIMIT} bytes")));
            }
        }
        Ok(true)
    }

    /// Does one call on the runtime's thread and waits for it. The second, longer limit holds when that thread is stuck (a
    /// login helper of the kubeconfig that hangs).
    fn call(&self, method: Method, path: &str, body: Option<&Value>, content: &'static str) -> Result<Value, ApiError> {
        let (said, answer) = sync_channel(1);
        let (cluster, path, body) = (self.clone(), path.to_owned(), body.map(Value::to_string));
        self.inner.runtime.spawn(async move {
            let _ = said.send(cluster.answer(method, &path, body, content).await);
        });
        answer.recv_timeout(LIMIT + Duration::from_secs(2)).unwrap_or_else(|e| {
            let why = match e {
                RecvTimeoutError::Timeout => "a login helper of the kubeconfig hangs",
                RecvTimeoutError::Disconnected => "its thread ended",
            };
            Err(ApiError::lost("Timeout", format!("{} was not asked: {why}", self.server())))
        })
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        content: &'static str,
    ) -> Result<Value, ApiError> {
        within(LIMIT, async {
            let response = self.send(method, path, body, content).await?;
            if !response.status().is_success() {
                return Err(refusal(response).await);
            }
            let bytes = read(response).await?;
            serde_json::from_slice(&bytes)
                .map_err(|e| ApiError::lost("NotJson", format!("the answer is not JSON: {e}")))
        })
        .await
        .map_err(|e| {
            if e.code == 0 { ApiError { message: format!("{}: {}", self.server(), e.message), ..e } } else { e }
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        content: &'static str,
    ) -> Result<Response<Body>, ApiError> {
        let mut request = Request::builder().method(method).uri(path).header("accept", "application/json");
        if body.is_some() {
            request = request.header("content-type", content);
        }
        let body = body.map_or_else(Body::empty, |text| Body::from(text.into_bytes()));
        let request = request.body(body).map_err(|e| ApiError::lost("BadPath", format!("{path}: {e}")))?;
        self.inner.client.send(request).await.map_err(|e| {
            // The library's own words for its layers say nothing to anybody.
            let text = chain(&e);
            let text =
                ["ServiceError: ", "HyperError: "].iter().find_map(|layer| text.strip_prefix(layer)).unwrap_or(&text);
            ApiError::lost("Unreachable", text.to_owned())
        })
    }
}

/// The API server's URL of a context, as [`Cluster::server`] has it; asks nobody.
///
/// # Errors
/// No kubeconfig, or an unknown context.
pub fn server(context: Option<&str>) -> Result<String, String> {
    configuration(context).map(|(_, config)| url_of(&config))
}

fn url_of(config: &kube::Config) -> String {
    config.cluster_url.to_string().trim_end_matches('/').to_owned()
}

/// `?labelSelector=…` and so on: the values escaped.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let escape = |value: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let pairs: Vec<String> =
        pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}", escape(v))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// A list's or an object's `metadata.resourceVersion`.
pub fn version_of(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or("0")
}

fn joint(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(ApiError::lost("Timeout", format!("no answer within {} s", limit.as_secs()))))
}

async fn read(response: Response<Body>) -> Result<Vec<u8>, ApiError> {
    let whole = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    Ok(whole.map_err(|e| ApiError::lost("Unreachable", format!("the answer broke off: {e}")))?.to_bytes().to_vec())
}

async fn refusal(response: Response<Body>) -> ApiError {
    let code = response.status().as_u16();
    let words = response.status().canonical_reason().unwrap_or("refused").to_owned();
    let body = read(response).await.unwrap_or_default();
    refused(code, &words, &body)
}

/// A refusal: a `Status` object, or whatever a proxy in between says.
fn refused(code: u16, words: &str, body: &[u8]) -> ApiError {
    let Some(status) = serde_json::from_slice::<Value>(body).ok().filter(|v| v["kind"] == "Status") else {
        let said: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
        let message = if said.is_empty() { "no reason given".to_owned() } else { said };
        return ApiError { code, reason: words.to_owned(), message };
    };
    let mut message = status["message"].as_str().unwrap_or(words).to_owned();
    for cause in status["details"]["causes"].as_array().into_iter().flatten() {
        if let Some(more) = cause["message"].as_str().filter(|more| !message.contains(*more)) {
            message = format!("{message} {more}");
        }
    }
    ApiError { code, reason: status["reason"].as_str().unwrap_or(words).to_owned(), message }
}

/// One line of a watch. False when its reader has enough.
fn hand_over(
    line: &[u8],
    from: &mut String,
    on_event: &mut impl FnMut(WatchKind, Value) -> bool,
) -> Result<bool, ApiError> {
    let Ok(mut event) = serde_json::from_slice::<Value>(line) else {
        return Err(ApiError::lost("NotJson", "an event of the watch is not JSON".to_owned()));
    };
    let object = event["object"].take();
    let kind = match event["type"].as_str().unwrap_or_default() {
        "ADDED" => WatchKind::Added,
        "MODIFIED" => WatchKind::Modified,
        "DELETED" => WatchKind::Deleted,
        "ERROR" => {
            let code = object["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
            return Err(refused(code, "watch ended", object.to_string().as_bytes()));
        }
        // A bookmark: nothing happened, and the server says how far it has read.
        _ => {
            *from = version_of(&object).to_owned();
            return Ok(true);
        }
    };
    *from = version_of(&object).to_owned();
    Ok(on_event(kind, object))
}

/// The kubeconfig's context and how to reach it.
fn configuration(context: Option<&str>) -> Result<(String, kube::Config), String> {
    let none = "set KUBECONFIG, write ~/.kube/config, or run inside a pod with a service account";
    let file = match Kubeconfig::read() {
        Ok(file) => file,
        Err(e) if context.is_none_or(|c| c == IN_CLUSTER) => {
            return match kube::Config::incluster() {
                Ok(config) => Ok((IN_CLUSTER.to_owned(), bounded(config, true))),
                Err(_) => Err(format!("no usable kubeconfig: {}; {none}", chain(&e))),
            };
        }
        Err(e) => return Err(format!("no usable kubeconfig: {}; {none}", chain(&e))),
    };
    let known: Vec<&str> = file.contexts.iter().map(|c| c.name.as_str()).collect();
    let chosen = context.or(file.current_context.as_deref()).unwrap_or_default().to_owned();
    if !known.contains(&chosen.as_str()) {
        let has = if known.is_empty() { "no context at all".to_owned() } else { known.join(", ") };
        return Err(match chosen.as_str() {
            "" => format!("the kubeconfig has no current context: write context = \"…\" (it has {has})"),
            _ => format!("the kubeconfig has no context {chosen}: it has {has}"),
        });
    }
    let own_proxy = own_proxy(&file, &chosen);
    let options = KubeConfigOptions { context: Some(chosen.clone()), ..KubeConfigOptions::default() };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let config = runtime
        .block_on(kube::Config::from_custom_kubeconfig(file, &options))
        .map_err(|e| format!("context {chosen}: {}", chain(&e)))?;
    Ok((chosen, bounded(config, own_proxy)))
}

/// Whether the context's cluster names a proxy itself: that one holds whatever the environment says.
fn own_proxy(file: &Kubeconfig, context: &str) -> bool {
    let context = file.contexts.iter().find(|c| c.name == context).and_then(|c| c.context.as_ref());
    let cluster = context.and_then(|c| file.clusters.iter().find(|k| k.name == c.cluster));
    cluster.and_then(|c| c.cluster.as_ref()).and_then(|c| c.proxy_url.as_deref()).is_some_and(|p| !p.is_empty())
}

/// No retries out of sight, no endless connecting, and no proxy where the environment says there is none.
fn bounded(mut config: kube::Config, own_proxy: bool) -> kube::Config {
    config.default_retry = false;
    config.connect_timeout = Some(LIMIT / 2);
    config.write_timeout = Some(LIMIT);
    let host = config.cluster_url.host().unwrap_or_default();
    let none = ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    if !own_proxy && without_proxy(host, &none) {
        config.proxy_url = None;
    }
    config
}

/// As other clients of the API read `NO_PROXY`: hosts, domains, `*`; this machine itself is never asked for by a proxy.
fn without_proxy(host: &str, none: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    let here = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    here || none.split(',').map(str::trim).filter(|n| !n.is_empty()).any(|n| {
        let domain = n.trim_start_matches('.');
        n == "*" || bare == domain || bare.ends_with(&format!(".{domain}"))
    })
}

/// An error with what caused it, once each.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// An API server that answers as it is told: for tests of what becomes of a call that is refused, or whose answer is lost.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Mutex;

    /// The status of an answer that never comes.
    pub(crate) const LOST: u16 = 0;

    /// What it was asked so far: method, path and body of each.
    pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

    /// Gives these answers in order, one connection each, and is gone after the last.
    pub(crate) fn scripted(answers: Vec<(u16, Value)>) -> (Cluster, Asked) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let heard = asked.clone();
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                heard.lock().unwrap().push(hear(&mut stream));
                if status != LOST {
                    let (body, head) = (body.to_string(), format!("HTTP/1.1 {status} X\r\nconnection: close"));
                    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        let mut config = kube::Config::new(url.parse().unwrap());
        // Nothing here is under TLS, so no authority of this machine is asked for.
        config.root_cert = Some(Vec::new());
        (Cluster::with("test".to_owned(), bounded(config, true)).unwrap(), asked)
    }

    /// A request as `PATCH /path BODY`.
    fn hear(stream: &mut TcpStream) -> String {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |n| n.parse::<usize>().unwrap()) {
                    let line = text.lines().next().unwrap_or_default();
                    return format!("{} {body}", line.trim_end_matches(" HTTP/1.1"));
                }
            }
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request broke off: {text}");
            bytes.extend_from_slice(&buffer[..read]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::{LOST, scripted};
    use super::*;

    #[test]
    fn a_refusal_is_known_and_a_lost_answer_is_not() {
        let answers = vec![(200, json!({"a": 1})), (409, json!({})), (504, json!({})), (LOST, json!({}))];
        let (cluster, asked) = scripted(answers);
        assert_eq!(cluster.get("/x"), Ok(json!({"a": 1})));
        let patch = || cluster.patch_merge("/y", &json!({"b": 2})).unwrap_err();
        let (refused, late, lost) = (patch(), patch(), patch());
        assert_eq!((refused.code, late.code, lost.code), (409, 504, 0), "{lost}");
        assert_eq!([&refused, &late, &lost].map(ApiError::may_have_worked), [false, true, true]);
        let asked = asked.lock().unwrap();
        assert_eq!((asked[0].as_str(), asked.len()), ("GET /x ", 4));
        assert!(asked[3].starts_with("PATCH /y?") && asked[3].ends_with(r#" {"b":2}"#), "{}", asked[3]);
    }

    #[test]
    fn a_refusal_says_what_the_api_said_and_the_cure() {
        let body = json!({"kind": "Status", "reason": "Forbidden", "code": 403,
            "message": "pods \"a\" is forbidden: User \"u\" cannot delete resource \"pods\" in API group \"\" in the namespace \"n\""});
        let error = refused(403, "Forbidden", body.to_string().as_bytes());
        assert_eq!((error.code, error.reason.as_str()), (403, "Forbidden"));
        let told = error.to_string();
        assert!(told.contains("cannot delete resource \"pods\"") && told.contains("resbench doctor --rbac"), "{told}");

        let webhook = ApiError { message: "admission webhook \"v\" denied the request".into(), ..error };
        assert!(webhook.refused_by_webhook() && !webhook.to_string().contains("doctor"), "{webhook}");

        let body = json!({"kind": "Status", "reason": "TooManyRequests", "message": "Cannot evict pod",
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods"}]}});
        let told = refused(429, "", body.to_string().as_bytes()).to_string();
        assert!(told.contains("Cannot evict pod The disruption budget web needs 2"), "{told}");
        let told = refused(502, "Bad Gateway", b"<html>").to_string();
        assert_eq!(told, "<html> (502 Bad Gateway)");
    }

    #[test]
    fn a_watch_is_read_line_by_line() {
        let (mut from, mut seen) = ("1".to_owned(), Vec::new());
        let mut read = |event: Value, from: &mut String| {
            hand_over(event.to_string().as_bytes(), from, &mut |kind, object: Value| {
                seen.push((kind, object["metadata"]["name"].as_str().unwrap_or("?").to_owned()));
                kind != WatchKind::Deleted
            })
        };
        let object = |name: &str, v: &str| json!({"metadata": {"name": name, "resourceVersion": v}});
        assert_eq!(read(json!({"type": "ADDED", "object": object("a", "5")}), &mut from), Ok(true));
        assert_eq!(read(json!({"type": "BOOKMARK", "object": object("", "9")}), &mut from), Ok(true));
        assert_eq!(from, "9");
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}});
        assert_eq!(read(gone, &mut from).unwrap_err().code, 410);
        assert_eq!(read(json!({"type": "DELETED", "object": object("a", "12")}), &mut from), Ok(false), "enough");
        assert_eq!(from, "12");
        assert!(hand_over(b"{", &mut from, &mut |_, _| true).is_err());
        assert_eq!(seen, [(WatchKind::Added, "a".into()), (WatchKind::Deleted, "a".into())]);
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(
            query(&[("labelSelector", "app=web,x in (a)"), ("fieldSelector", "")]),
            "?labelSelector=app%3Dweb%2Cx%20in%20%28a%29"
        );
        assert_eq!(query(&[]), "");
    }

    #[test]
    fn proxies_are_for_others() {
        assert!(without_proxy("127.0.0.1", "") && without_proxy("[::1]", "") && without_proxy("localhost", ""));
        assert!(without_proxy("api.corp.example", "x, .corp.example") && without_proxy("any", "*"));
        assert!(!without_proxy("api.corp.example", "orp.example") && !without_proxy("api.example", ""));
    }
}
