//! Protocols from outside: the real binary sends rows in every form to the embedded model server, and what it counts must be what the
//! model is known to do with those rows; and bodies of templates, as a server sees them.

mod support;

use support::server::{Server, Then};
use support::{Ran, Room, light, shipped};

/// A run of 60 requests, planned evenly over 1.5 s, on one replica of the shipped model.
fn run(target: &str, traffic: &str) -> Ran {
    let ready = if target.contains("open-inference") { "/v2/health/ready" } else { "/ping" };
    let text = format!(
        "name = \"protocols\"\nseed = 7\n[target]\n{target}\n[platform.local]\nreplicas = 1\n\
         command = [\"resbench\", \"model-server\", \"--listen\", \"{{address}}\", \"--model\", \"{{volume}}\"]\n\
         volume = \"{}\"\nready = {{ path = \"{ready}\", every = \"50ms\" }}\n[traffic]\ndataset = \"{}\"\nlabel = \"is_fraud\"\n{traffic}\n\
         arrivals = \"uniform\"\ntimeout = \"20s\"\n[[phase]]\nname = \"all\"\nduration = \"1500ms\"\nrate = 40\n\
         [[probe]]\nname = \"predicts\"\nkind = \"prediction\"\ntimeout = \"20s\"\nwhen = [\"before\", \"after\"]\n",
        shipped("scenarios/models/fraud-v1"),
        shipped("scenarios/data/fraud.csv"),
    );
    let _seat = light();
    let room = Room::new();
    let mut ran = room.run(&text);
    ran.room = Some(room);
    let all = ran.phase("all");
    assert_eq!((all.n("planned"), all.n("ok")), (60, 60), "{target}\n{traffic}\n{ran}");
    ran
}

fn accuracy(ran: &Ran) -> (u64, f64) {
    let share = &ran.phase("all").0["quality"]["shares"]["accuracy"];
    (share["n"].as_u64().unwrap_or(0), share["value"].as_f64().unwrap_or(f64::NAN))
}

#[test]
fn every_form_says_the_same_to_the_model() {
    let mlflow = |form: &str| format!("protocol = \"mlflow\"\nform = \"{form}\"");
    let tensors = |more: &str| format!("protocol = \"open-inference\"\nmodel = \"fraud\"\n{more}");
    let tf = |more: &str| format!("protocol = \"tf-serving\"\nmodel = \"fraud\"\n{more}");
    let targets = [
        mlflow("dataframe_split"),
        mlflow("dataframe_records"),
        mlflow("instances"),
        mlflow("inputs"),
        tensors(""),
        tensors("input = \"x\""),
        tensors("form = \"binary\""),
        tensors("form = \"binary\"\ninput = \"x\""),
        tf(""),
        tf("form = \"inputs\""),
        tf("input = \"x\""),
        tf("form = \"inputs\"\ninput = \"x\""),
    ];
    let mut seen: Option<(u64, f64)> = None;
    for target in &targets {
        let ran = run(target, "batch = 8");
        let (n, value) = accuracy(&ran);
        // The model itself is right on about 95 % of the shipped rows.
        assert!(n == 480 && value > 0.9, "{target}: {n} {value}");
        let first = *seen.get_or_insert((n, value));
        assert_eq!(first, (n, value), "{target}: the same rows, and so the same answers");
        let versions = &ran.phase("all").0["quality"]["versions"];
        assert!(target.contains("open-inference") == (versions["1"] == 60), "{target}: {versions}");
    }
}

#[test]
fn batches_of_several_sizes_are_counted_by_row() {
    let ran = run("protocol = \"mlflow\"", "batch = { sizes = [1, 4], weights = [1, 1] }");
    let (n, _) = accuracy(&ran);
    assert!((60..=240).contains(&n) && n != 60 && n != 240, "some of one row, some of four: {n}");
}

#[test]
fn templates_say_what_a_protocol_would() {
    let template = r#"{"instances": [{{#rows}}{"account_id": {{account_id}}, "amount": {{amount}}, "hour": {{hour}},
        "merchant_risk": {{merchant_risk}}, "distance_km": {{distance_km}}, "is_foreign": {{is_foreign}},
        "note": "tx of {{account_id}}"}{{/rows}}], "params": {}}"#;
    let target = "protocol = \"http\"\npath = \"/invocations\"\nanswer = { prediction = \"json:/predictions\" }";
    let ran = run(target, &format!("batch = 8\ntemplate = '''{template}'''"));
    let as_mlflow = run("protocol = \"mlflow\"", "batch = 8");
    assert_eq!(accuracy(&ran), accuracy(&as_mlflow), "{ran}");
}

/// Every third answer is an error object in a 200, as a service that lost its model gives it; the rest alternate with the turn.
#[test]
fn answers_that_changed_and_answers_that_are_none_are_told_apart() {
    let server = Server::start(|pipe, turn| {
        let text = match turn % 3 {
            2 => r#"{"error":"no model"}"#.to_owned(),
            // The first 30 requests are the baseline; after them every answer is another one.
            _ => format!(
                r#"{{"score":{},"level":"{}"}}"#,
                if turn < 30 { 0.5 } else { 0.75 },
                if turn < 30 { "none" } else { "cached" }
            ),
        };
        let told = write!(pipe, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-age: {turn}.5\r\n\r\n{text}", text.len());
        if told.and_then(|()| pipe.flush()).is_ok() { Then::KeepOpen } else { Then::Close }
    });
    // One connection and a steady rate: the server's turns are the order of the plan.
    let text = format!(
        "name = \"changed\"\nseed = 7\n[target]\nprotocol = \"http\"\nurl = \"{}\"\n\
         answer = {{ prediction = \"json:/score\", fallback = \"json:/level\", age = \"header:x-age\" }}\n\
         [traffic]\nbody = \"{{}}\"\ntimeout = \"20s\"\nconnections = 1\narrivals = \"uniform\"\n\
         [[phase]]\nname = \"base\"\nduration = \"1500ms\"\nrate = 20\n[[phase]]\nname = \"rest\"\nduration = \"1500ms\"\nrate = 20\n\
         [[objective]]\nmetric = \"agreement\"\nmin = 0.9\nspans = [\"rest\"]\n\
         [[objective]]\nmetric = \"freshness.max\"\nmax = \"30s\"\nspans = [\"base\"]\n",
        server.url(),
    );
    let _seat = light();
    let room = Room::new();
    let mut ran = room.run(&text);
    ran.room = Some(room);
    let (base, rest) = (ran.phase("base"), ran.phase("rest"));
    assert_eq!(base.n("ok") + base.error("bad_answer") + rest.n("ok") + rest.error("bad_answer"), 60, "{ran}");
    // One more request than planned finds out whether anybody is there, so the turns of a phase are off by one.
    assert!((9..=11).contains(&base.error("bad_answer")) && (9..=11).contains(&rest.error("bad_answer")), "{ran}");
    let of = |span: &support::Span, share: &str| span.0["quality"]["shares"][share].clone();
    let (before, after) = (of(&base, "agreement"), of(&rest, "agreement"));
    assert!(before["value"].as_f64().unwrap() > 0.9, "{before}");
    assert!(
        before["n"].as_u64() < Some(base.n("ok")),
        "the first answer is the reference and is compared with nothing"
    );
    assert_eq!((after["value"].as_f64(), after["n"].as_u64()), (Some(0.0), Some(rest.n("ok"))), "{after}");
    let cached = &rest.0["quality"]["fallback_levels"]["cached"];
    assert_eq!((cached["value"].as_f64(), of(&rest, "fallback_rate")["value"].as_f64()), (Some(1.0), Some(1.0)));
    let age = &rest.0["quality"]["freshness_s"];
    assert!(age["max"].as_f64().unwrap() >= 58.5 && age["n"].as_u64() == Some(rest.n("ok")), "{age}");
    let verdicts: Vec<&str> =
        ran.json()["objectives"].as_array().unwrap().iter().map(|o| o["verdict"].as_str().unwrap()).collect();
    let kept_up = base.0["kept_up"] == true && rest.0["kept_up"] == true;
    assert!(!kept_up || verdicts[0] == "violated", "{verdicts:?}\n{ran}");
    assert!(ran.stdout.contains("same as at baseline") && ran.stdout.contains("cached"), "{}", ran.stdout);
    assert!(ran.dir().join("charts/quality.svg").exists(), "the picture is among the files");
}
