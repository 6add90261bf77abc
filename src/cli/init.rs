//! `resbench init DIR`: a working scenario, its data and its model, to start from.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{USAGE, out};
use crate::scenario;

#[derive(Args)]
pub(super) struct InitArgs {
    /// The folder to write to; files that are there already are left alone.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Print the [[fault]] for a manifest of Chaos Mesh (YAML or JSON) instead, to be put into a scenario.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    import: Option<PathBuf>,
}

/// What is written: the shipped scenario as it is, with everything it names.
const FILES: [(&str, &[u8]); 4] = [
    ("scenarios/pod-kill.toml", include_bytes!("../../scenarios/pod-kill.toml")),
    ("scenarios/data/fraud.csv", include_bytes!("../../scenarios/data/fraud.csv")),
    ("scenarios/models/fraud-v1/model.json", include_bytes!("../../scenarios/models/fraud-v1/model.json")),
    ("scenarios/models/fraud-v1/features.csv", include_bytes!("../../scenarios/models/fraud-v1/features.csv")),
];

pub(super) fn init(args: &InitArgs) -> u8 {
    if let Some(file) = &args.import {
        return import(file);
    }
    if let Some((path, _)) = FILES.iter().map(|(p, b)| (args.dir.join(p), b)).find(|(p, _)| p.exists()) {
        out::error(&format!("{} is there already: name another folder", path.display()));
        return USAGE;
    }
    for (path, bytes) in FILES {
        let path = args.dir.join(path);
        if let Err(e) = write(&path, bytes) {
            out::error(&format!("{}: {e}", path.display()));
            return USAGE;
        }
        out::result(&format!("wrote {}\n", path.display()));
    }
    let scenario = args.dir.join("scenarios/pod-kill.toml");
    out::result(&format!("next: resbench run {}\n", scenario.display()));
    0
}

fn import(file: &Path) -> u8 {
    match scenario::import_chaos_mesh(file) {
        Ok((text, notes)) => {
            notes.iter().for_each(|note| out::talk(&format!("note: {note}\n")));
            out::result(&text);
            0
        }
        Err(why) => {
            out::error(&why);
            USAGE
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(path, bytes)
}
