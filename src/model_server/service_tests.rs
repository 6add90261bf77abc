//! Cache, feature store, breaker, fallbacks, memory and reload as clients meet them: real sockets, the shipped models.

use std::net::TcpListener;

use super::tests::{ROW, Reply, Server, volume};

/// A port of this machine that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
}

fn level(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{reply:?}");
    let level = reply.json()["fallback"].as_u64().unwrap();
    assert_eq!(header(reply, "x-fallback-level"), Some(level.to_string().as_str()), "{reply:?}");
    level
}

#[test]
fn features_come_from_a_store_with_their_age() {
    let store = Server::start(&["--role", "feature-store", "--model", &volume(1), "--refresh-every", "60s"]);
    let server = Server::ready(&["--model", &volume(1), "--feature-store", &url(&store), "--feature-timeout", "20s"]);
    let local = Server::ready(&["--model", &volume(1)]);
    let (far, near) = (server.predict(ROW), local.predict(ROW));
    assert_eq!(far.body, near.body);
    assert_eq!(level(&far), 0);
    let age: f64 = header(&far, "x-feature-age").unwrap().parse().unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    assert_eq!(header(&near, "x-feature-age"), None, "a file does not say it");
    store.call("PUT", "/admin/pipeline", "", r#"{"stopped": true}"#);
    store.until(|_| header(&server.predict(ROW), "x-feature-age").unwrap().parse::<f64>().unwrap() > age);
    let stranger = server.predict(&ROW.replace("10409", "9999"));
    assert_eq!(level(&stranger), 2, "the mean account stands in");
    for s in [store, server, local] {
        s.end();
    }
}

#[test]
fn without_a_fallback_a_store_that_is_gone_is_an_error_and_the_breaker_spares_it() {
    let store = nobody();
    let args = ["--model", &volume(1), "--feature-store", &store, "--breaker-failures", "3", "--breaker-open", "60s"];
    let server = Server::ready(&args);
    let statuses: Vec<u16> = (0..5).map(|_| server.predict(ROW).status).collect();
    assert_eq!(statuses, [500, 500, 500, 503, 503]);
    assert_eq!(server.metric("model_server_breaker_state"), "2");
    assert_eq!(server.metric("model_server_breaker_opened_total"), "1");
    assert_eq!(server.metric("model_server_breaker_refused_total"), "2");
    assert_eq!(server.metric("model_server_feature_read_errors_total"), "3");
    server.end();
}

#[test]
fn the_breaker_closes_when_the_store_is_back() {
    let store = Server::start(&["--role", "feature-store", "--model", &volume(1)]);
    let address = store.address.to_string();
    let url = url(&store);
    let args = ["--model", &volume(1), "--feature-store", &url, "--breaker-failures", "1", "--breaker-open", "20ms"];
    let server = Server::ready(&[&args[..], &["--fallback", "model", "--feature-timeout", "5s"]].concat());
    assert_eq!(level(&server.predict(ROW)), 0);
    store.end();
    assert_eq!(level(&server.predict(ROW)), 2);
    assert_eq!(server.metric("model_server_breaker_opened_total"), "1");
    let store = Server::start_at(&address, &["--role", "feature-store", "--model", &volume(1)]);
    server.until(|s| level(&s.predict(ROW)) == 0);
    assert_eq!(server.metric("model_server_breaker_state"), "0");
    store.end();
    server.end();
}

#[test]
fn the_ladder_goes_from_the_last_answer_to_the_fixed_one() {
    let store = Server::start(&["--role", "feature-store", "--model", &volume(1)]);
    let url = url(&store);
    let (features, volume) = (["--feature-store", &url, "--feature-timeout", "5s", "--model"], volume(1));
    let with = |more: &[&str]| Server::ready(&[&features[..], &[&volume], more].concat());
    let cached = with(&["--cache", "10", "--cache-ttl", "0s", "--fallback", "default,cached", "--default-answer", "1"]);
    let rules = with(&["--fallback", "rules,default", "--rule", "amount>10"]);
    let other = ROW.replace("10409", "10410");
    assert_eq!(level(&cached.predict(ROW)), 0);
    store.end();
    assert_eq!(level(&cached.predict(ROW)), 1, "what it answered before, however old");
    let fixed = cached.predict(&other);
    assert_eq!((level(&fixed), &fixed.json()["predictions"][0]), (4, &1.into()));
    let by_rule = rules.predict(ROW);
    assert_eq!((level(&by_rule), &by_rule.json()["predictions"][0]), (3, &1.into()));
    assert_eq!(cached.metric("model_server_answers_total{fallback_level=\"1\"}"), "1");
    assert_eq!(cached.metric("model_server_answers_total{fallback_level=\"4\"}"), "1");
    cached.end();
    rules.end();
}

#[test]
fn the_cache_says_when_it_answers_and_costs_no_worker() {
    let server = Server::ready(&["--model", &volume(1), "--cache", "100", "--service-time", "constant:20ms"]);
    let first = server.predict(ROW);
    let again = server.predict(ROW);
    assert_eq!((header(&first, "x-cache"), header(&again, "x-cache")), (Some("miss"), Some("hit")));
    assert_eq!(first.body, again.body);
    assert_eq!(header(&server.predict(&ROW.replace("14.05", "14.06")), "x-cache"), Some("miss"));
    assert_eq!(server.metric("model_server_cache_requests_total{result=\"hit\"}"), "1");
    assert_eq!(server.metric("model_server_cache_requests_total{result=\"miss\"}"), "2");
    assert_eq!(server.metric("model_server_cache_rows"), "2");
    let none = Server::ready(&["--model", &volume(1)]);
    assert_eq!(header(&none.predict(ROW), "x-cache"), None);
    none.end();
    server.end();
}

#[test]
fn a_batch_beyond_the_memory_is_refused() {
    let server = Server::ready(&["--model", &volume(1), "--row-memory", "1MiB", "--memory-limit", "4MiB"]);
    let row = "[10409, 14.05, 18, 0.644, 44.5, 0]";
    let batch = |rows: usize| format!("{{\"inputs\": [{}]}}", vec![row; rows].join(","));
    assert_eq!(server.predict(&batch(3)).status, 200);
    let (status, code, message) = server.predict(&batch(5)).problem();
    assert_eq!((status, code.as_str()), (413, "BAD_REQUEST"));
    assert!(message.contains("out of memory") && message.contains("the limit is 4194304"), "{message}");
    assert_eq!(server.metric("model_server_out_of_memory_total"), "1");
    assert_eq!(server.metric("model_server_working_memory_bytes"), "0");
    server.end();
}

/// Versions 1 and 2 of `fraud`, and 3, whose artifact says that it is 1.
fn registry() -> Server {
    let register = [1, 2, 1].map(|v| format!("fraud={}", volume(v)));
    let args: Vec<&str> = register.iter().flat_map(|r| ["--register", r]).collect();
    Server::start(&[&["--role", "registry", "--alias", "fraud@champion=1"], &args[..]].concat())
}

fn point(registry: &Server, version: u8) {
    let body = format!(r#"{{"name": "fraud", "alias": "champion", "version": "{version}"}}"#);
    assert_eq!(registry.call("POST", "/api/2.0/mlflow/registered-models/alias", "", &body).status, 200);
}

fn version(server: &Server) -> String {
    let reply = server.predict(ROW);
    assert_eq!(reply.status, 200, "{reply:?}");
    let version = header(&reply, "x-model-version").unwrap().to_owned();
    assert_eq!(reply.json()["model_version"], *version);
    version
}

#[test]
fn a_model_follows_its_alias_and_what_is_refused_never_takes_its_place() {
    let registry = registry();
    let url = url(&registry);
    let follow = ["--registry", &url, "--registry-model", "fraud@champion", "--reload-every", "20ms"];
    let (server, strict) = (Server::ready(&follow), Server::ready(&[&follow[..], &["--strict"]].concat()));
    assert_eq!((version(&server), version(&strict)), ("1".into(), "1".into()));
    let near = Server::ready(&["--model", &volume(1)]);
    assert_eq!(server.predict(ROW).body, near.predict(ROW).body, "the features came with it");
    near.end();

    point(&registry, 3);
    server.until(|s| s.metric("model_server_reload_failures_total{reason=\"version\"}") != "0");
    assert_eq!(server.metric("model_server_reload_problem{reason=\"version\",version=\"3\"}"), "1");
    assert_eq!(version(&server), "1", "the old one is kept");
    strict.until(|s| s.call("GET", "/ping", "", "").status == 503);
    let (status, _, message) = strict.predict(ROW).problem();
    assert_eq!(status, 503);
    assert!(message.contains("the registry names version 3, and the artifact says that it is 1"), "{message}");

    registry.call("PUT", "/admin/behaviour", "", r#"{"truncate": 1000}"#);
    point(&registry, 2);
    server.until(|s| s.metric("model_server_reload_failures_total{reason=\"sha256\"}") != "0");
    assert_eq!(version(&server), "1");
    registry.call("DELETE", "/admin/behaviour", "", "");
    for s in [&server, &strict] {
        s.until(|s| s.call("GET", "/version", "", "").body.ends_with("model v2"));
        s.until(|s| s.call("GET", "/ping", "", "").status == 200);
        assert_eq!(version(s), "2");
        assert_eq!(s.metric("model_server_registry_version{version=\"2\"}"), "1");
    }
    registry.end();
    strict.until(|s| s.metric("model_server_reload_failures_total{reason=\"unreachable\"}") != "0");
    assert_eq!(version(&strict), "2", "a registry that is gone takes no verified model away");
    server.end();
    strict.end();
}

#[test]
fn without_its_registry_a_server_has_the_model_on_its_volume_or_waits() {
    let registry = nobody();
    let follow = ["--registry", &registry, "--registry-model", "fraud@champion"];
    let with = Server::ready(&[&follow[..], &["--model", &volume(2)]].concat());
    assert_eq!(version(&with), "2");
    assert_eq!(with.metric("model_server_reload_failures_total{reason=\"unreachable\"}"), "1");
    let strict = Server::start(&[&follow[..], &["--model", &volume(2), "--strict"]].concat());
    let without = Server::start(&follow);
    for server in [&strict, &without] {
        server.until(|s| {
            let (status, _, message) = s.predict(ROW).problem();
            assert_eq!(status, 503);
            message.starts_with("waiting for fraud@champion: the registry at 127.0.0.1:")
        });
    }
    with.end();
    strict.end();
    without.end();
}

#[test]
fn an_alias_that_is_not_there_is_said() {
    let registry = registry();
    let server = Server::start(&["--registry", &url(&registry), "--registry-model", "fraud@nobody"]);
    server.until(|s| s.metric("model_server_reload_failures_total{reason=\"alias\"}") != "0");
    let (_, _, message) = server.predict(ROW).problem();
    assert!(message.contains("Registered model alias nobody not found"), "{message}");
    server.end();
    registry.end();
}
