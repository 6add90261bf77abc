//! Loads at scripted servers: the scenario, the handlers' first words, and a load inside this process for what no scenario can say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use resbench::client::resolve::Resolved;
use resbench::client::{Endpoint, Requests, tls};
use resbench::clock::{Clock, sleep};
use resbench::engine::{Connections, Engine, Job, Shared, late_limit};
use resbench::plan::Plan;
use resbench::record::assemble::{Assembled, assemble};
use resbench::record::{ErrorTrace, Part};
use resbench::scenario;
use resbench::target::{Agreement, Checker, RequestBodies};

use super::server::{GOOD, Pipe, Server, Then};
use super::{Ran, Room, light};

/// A scenario at a URL: `traffic` and `rest` are more of the file.
pub fn at_url(url: &str, traffic: &str, rest: &str) -> String {
    let dataset = super::shipped("scenarios/data/fraud.csv");
    format!(
        "name = \"e2e\"\nseed = 7\n[target]\nprotocol = \"mlflow\"\nurl = \"{url}\"\n\
         [traffic]\ndataset = \"{dataset}\"\nlabel = \"is_fraud\"\narrivals = \"uniform\"\n{traffic}\n{rest}\n"
    )
}

pub fn phase(name: &str, duration: &str, rate: f64) -> String {
    format!("[[phase]]\nname = \"{name}\"\nduration = \"{duration}\"\nrate = {rate}\n")
}

/// A server that answers well once (so that the run starts), then as the handler does; a short run against it.
pub fn bad(timeout: &str, handle: impl Fn(&mut dyn Pipe, usize) -> Then + Send + Sync + 'static) -> (Ran, Server) {
    let server = Server::start(move |pipe, n| if n == 0 { good(pipe) } else { handle(pipe, n) });
    (short(&server.url(), timeout), server)
}

/// Sixty requests in 1.5 s.
pub fn short(url: &str, timeout: &str) -> Ran {
    let room = Room::new();
    let _seat = light();
    let mut ran = room.run(&at_url(url, &format!("timeout = \"{timeout}\""), &phase("all", "1500ms", 40.0)));
    ran.room = Some(room);
    assert_eq!(ran.phase("all").n("planned"), 60, "{ran}");
    assert!(ran.took < 60.0, "{ran}");
    ran
}

pub fn good(pipe: &mut dyn Pipe) -> Then {
    say(pipe, GOOD)
}

pub fn say(pipe: &mut dyn Pipe, bytes: &[u8]) -> Then {
    if pipe.write_all(bytes).and_then(|()| pipe.flush()).is_ok() { Then::KeepOpen } else { Then::Close }
}

/// Every arrival ended in one of these classes.
#[track_caller]
pub fn all_are(ran: &Ran, classes: &[&str]) {
    let phase = ran.phase("all");
    let seen: BTreeSet<String> = phase.errors().into_iter().filter(|(_, n)| *n > 0).map(|(class, _)| class).collect();
    assert!(!seen.is_empty() && seen.iter().all(|class| classes.contains(&class.as_str())), "{seen:?}\n{ran}");
    assert_eq!((phase.n("ok"), phase.n("shed")), (0, 0), "{ran}");
}

/// A load that runs in this process.
pub struct Inside {
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub clock: Clock,
    engine: Engine,
    dir: tempfile::TempDir,
}

/// What it left.
pub struct Left {
    pub parts: Vec<Part>,
    pub all: Assembled,
    pub errors: Vec<ErrorTrace>,
    pub connections: Connections,
}

/// Starts a scenario's load, nothing else of it, half a second from now. `resolved` stands in for the name in its URL.
pub fn start_inside(text: &str, workers: usize, resolved: Option<Arc<Resolved>>) -> Inside {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let plan = scenario::load_text(text, &dir.path().join("s.toml"), &scenario::LoadOptions::default());
    let plan = Arc::new(plan.map_err(|p| format!("{p:?}")).expect("the scenario is valid"));
    let url = plan.target.url.clone().expect("it has a url");
    let bodies = RequestBodies::encode(&plan);
    let traffic = &plan.traffic;
    let job = Job {
        requests: Requests::new(&plan.target, &url, &bodies),
        bodies,
        alterations: Arc::default(),
        checker: Checker::new(&plan.target),
        agreement: Agreement::new(&plan, 0),
        resolved: resolved.unwrap_or_else(|| {
            Resolved::new(&url.host, url.port, traffic.address_family, traffic.dns_refresh).expect("it resolves")
        }),
        endpoint: Endpoint {
            tls: url.tls.then(|| tls::client(&url.host, None, plan.target.http2).expect("TLS")),
            max_answer: traffic.max_answer,
            head_only: false,
            streams: traffic.streams,
            sources: traffic.source_addresses.clone(),
        },
        late_limit_ns: late_limit(&plan).as_nanos() as u64,
        spin_ns: 0,
        plan: plan.clone(),
    };
    let shared = Arc::new(Shared::new(&plan, workers));
    let clock = Clock::starting_in(Duration::from_millis(500));
    let engine = Engine::start(Arc::new(job), shared.clone(), clock, &[], dir.path().join("slots.tmp"));
    Inside { plan, shared, clock, engine, dir }
}

impl Inside {
    pub fn is_over(&self) -> bool {
        self.engine.is_over()
    }

    pub fn finish(self) -> Left {
        super::until("the load ends", || self.is_over().then_some(()));
        let load = self.engine.finish().expect("records are kept");
        let mut collected = load.collected;
        let mut parts = Vec::new();
        collected.for_each(|part| parts.push(part)).expect("they can be read");
        let all = assemble(&self.plan, &mut collected, self.shared.load_end()).expect("they can be read");
        drop(self.dir);
        Left { parts, all, errors: load.errors, connections: self.shared.connections() }
    }
}

/// Waits until an instant of a load.
pub fn at(clock: Clock, ms: u64) {
    sleep(clock.until(resbench::units::Offset(ms * 1_000_000)));
}
