//! `resbench doctor`: what this machine, and what it can reach, can do; and how to get what is missing.
//!
//! One line for each check, one small function for each line: `machine` (this machine itself), `services` (Docker,
//! Toxiproxy), `cluster` (Kubernetes and Chaos Mesh), `rbac` (what each kind of fault must be allowed to do there).

mod cluster;
mod machine;
mod own;
mod rbac;
mod services;

use clap::Args;

use crate::cli::out;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Measure the highest rate that resbench itself can pace on this machine (half a minute; run it on a quiet one).
    #[arg(long = "self")]
    own_limit: bool,
    /// Print the Roles that each class of faults needs, for kubectl apply.
    #[arg(long, conflicts_with = "own_limit")]
    rbac: bool,
    /// The namespace that is asked about, and that the Roles are for.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The kubeconfig's context, instead of its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// A Toxiproxy server's API, for example http://127.0.0.1:8474.
    #[arg(long, value_name = "URL")]
    toxiproxy: Option<String>,
}

/// What a check found, or what is missing.
type Outcome = Result<String, Missing>;

/// What is not there, and how to get it.
struct Missing {
    what: String,
    cure: String,
}

impl Missing {
    fn new(what: impl Into<String>, cure: impl Into<String>) -> Missing {
        Missing { what: what.into(), cure: cure.into() }
    }

    /// From a message that says both.
    fn told(both: impl Into<String>) -> Missing {
        Missing::new(both, "")
    }
}

/// One line.
struct Check {
    name: String,
    outcome: Outcome,
}

impl Check {
    fn new(name: impl Into<String>, outcome: Outcome) -> Check {
        Check { name: name.into(), outcome }
    }

    fn line(&self) -> String {
        let name = &self.name;
        let line = match &self.outcome {
            Ok(found) => format!("ok       {name:<22} {found}"),
            Err(Missing { what, cure }) if cure.is_empty() => format!("missing  {name:<22} {what}"),
            Err(Missing { what, cure }) => format!("missing  {name:<22} {what}; get it: {cure}"),
        };
        // What a server or a helper said may have lines and colours of its own.
        format!("{}\n", out::safe(&line.replace('\n', " ")))
    }
}

pub(super) fn doctor(args: &DoctorArgs) -> u8 {
    if args.own_limit {
        return own::measure();
    }
    if args.rbac {
        out::result(&rbac::manifests(&args.namespace));
        return 0;
    }
    show(&machine::checks());
    show(&services::checks(args.toxiproxy.as_deref()));
    show(&cluster::checks(args.context.as_deref(), &args.namespace));
    0
}

fn show(checks: &[Check]) {
    checks.iter().for_each(|check| out::result(&check.line()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_missing_and_how_to_get_it() {
        let line = |outcome| Check::new("docker", outcome).line();
        assert_eq!(line(Ok("28.0".into())), "ok       docker                 28.0\n");
        let missing = line(Err(Missing::new("no\nsocket \x1b[31m", "apt-get install docker.io")));
        assert!(missing.starts_with("missing  docker                 no socket"), "{missing:?}");
        assert!(missing.ends_with("; get it: apt-get install docker.io\n") && !missing.contains('\x1b'), "{missing:?}");
        assert_eq!(line(Err(Missing::told("no: do so"))), "missing  docker                 no: do so\n");
    }
}
