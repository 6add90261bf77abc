//! Rows of a dataset in a body: batches and templates, and how much memory all bodies take.

use super::Context;
use crate::plan::{Batch, Bodies, Dataset, Form, Piece, Place, Protocol, Target, Template};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{data, file, limits, words};

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Rows in a body.
pub(super) fn batch(cx: &mut Context, at: &Path, t: &file::Traffic) -> Option<Batch> {
    if t.batch.is_some() && t.dataset.is_none() {
        cx.clash(at, "batch", "`batch` is about rows of a dataset, and there is none", "add dataset = \"data/….csv\"");
    }
    let at = at.key("batch");
    match &t.batch {
        None => Some(Batch::default()),
        Some(file::BatchSpec::Rows(rows)) => Some(Batch { sizes: vec![(*rows, 1.0)] }),
        Some(file::BatchSpec::Sizes(spec)) => {
            let equal = vec![1.0; spec.sizes.len()];
            let weights = spec.weights.as_ref().unwrap_or(&equal);
            if weights.len() != spec.sizes.len() {
                let message = format!("{} sizes and {} weights", spec.sizes.len(), weights.len());
                cx.wrong(&at.key("weights"), message, "write one weight for each size");
                return None;
            }
            let sum: f64 = weights.iter().sum();
            if !(sum > 0.0 && sum.is_finite()) {
                cx.wrong(&at.key("weights"), "no size has a weight above 0", "write for example weights = [3, 1]");
                return None;
            }
            let sizes = spec.sizes.iter().copied().zip(weights.iter().map(|w| w / sum));
            Some(Batch { sizes: sizes.filter(|(_, share)| *share > 0.0).collect() })
        }
    }
}

/// What the protocol and the places in answers say about several rows in a body.
pub(super) fn check(cx: &mut Context, at: &Path, target: &Target, bodies: &Bodies, batch: &Batch, one_row: bool) {
    if batch.is_single() {
        return;
    }
    let at_batch = at.key("batch");
    if target.protocol == Protocol::Openai {
        cx.wrong(&at_batch, "a chat is one row: the protocol openai has no batches", "remove it");
    }
    if one_row {
        let help = "put {{#rows}} and {{/rows}} around what stands once for each row";
        cx.wrong(&at_batch, "the template has room for one row", help);
    }
    if !matches!(bodies, Bodies::Dataset(_)) {
        return;
    }
    if let Some((message, help)) = one_prediction(target, batch.largest()) {
        cx.wrong(&Path::root().key("target").key("answer").key("prediction"), message, help);
    }
}

/// Where the place of predictions names that of one row, though bodies hold up to so many: that, and the cure.
pub(super) fn one_prediction(target: &Target, rows: u32) -> Option<(String, String)> {
    match target.answer.prediction.as_ref()? {
        Place::Header(_) => {
            let message = format!("a header holds one prediction, and bodies hold up to {rows} rows");
            Some((message, "name the list of them: \"json:/predictions\"".to_owned()))
        }
        Place::Json(pointer) if !pointer.contains('*') => {
            let token = pointer.split('/').find(|t| t.parse::<usize>().is_ok())?;
            let (list, rest) = pointer.split_once(&format!("/{token}")).unwrap_or_default();
            // Of tensors the first or second is named by a number; their data is a list.
            if target.protocol == Protocol::OpenInference && rest.starts_with("/data") {
                return None;
            }
            let all = if rest.is_empty() { list.to_owned() } else { format!("{list}/*{rest}") };
            let message = format!("`{pointer}` is the prediction of one row, and bodies hold up to {rows}");
            Some((message, format!("name the list with one for each row: \"json:{all}\"")))
        }
        _ => None,
    }
}

/// All bodies are made before the run and held: too many of them are refused here, not met by a machine without memory. An upper
/// estimate; nothing is encoded for it.
pub(super) fn check_size(
    cx: &mut Context,
    at: &Path,
    target: &Target,
    bodies: &Bodies,
    batch: &Batch,
    template: Option<&Template>,
) {
    let Bodies::Dataset(table) = bodies else { return };
    let (total, _) = size(target, bodies, batch, template);
    if total > limits::BODIES_BYTES {
        let fits = (table.rows.len() as f64 * limits::BODIES_BYTES / total).floor();
        let (mb, most) = ((total / 1e6).ceil(), limits::BODIES_BYTES / 1e6);
        let message = format!("its bodies would take about {mb} MB, and at most {most} MB are held in memory");
        cx.wrong(&at.key("dataset"), message, format!("use a sample of about {fits} rows, or smaller batches"));
    }
}

/// How many bytes all bodies take at most, about, and how many bodies there are. Nothing is encoded for it.
pub(super) fn size(target: &Target, bodies: &Bodies, batch: &Batch, template: Option<&Template>) -> (f64, f64) {
    let table = match bodies {
        Bodies::One(body) => return (body.len() as f64 + 1.0, 1.0),
        Bodies::Lines(lines) => {
            return (lines.iter().map(|l| l.len() as f64 + 1.0).sum(), lines.len().max(1) as f64);
        }
        Bodies::Dataset(table) => table,
    };
    let cells: usize = table.rows.iter().flatten().map(|cell| cell.len() + 3).sum();
    let names: usize = table.columns.iter().map(|name| name.len() + 4).sum();
    let (rows, count) = (table.rows.len() as f64, batch.bodies(table.rows.len()) as f64);
    let text = |pieces: &[Piece]| -> usize {
        pieces.iter().map(|p| if let Piece::Text(text) = p { text.len() } else { 0 }).sum()
    };
    let (per_row, per_body) = match (template, target.encoding.form) {
        (Some(t), _) => match &t.each {
            Some(each) => (text(each), text(&t.before) + text(&t.after)),
            None => (0, text(&t.before)),
        },
        (None, Form::Records | Form::Instances) => (names, 64),
        (None, Form::Json | Form::Binary) => (0, names + 96 * table.columns.len()),
        (None, _) if target.protocol == Protocol::Http => (names, 64),
        (None, _) => (0, names + 64),
    };
    let of_cells = match target.encoding.form {
        Form::Binary => 8.0 * table.columns.len() as f64 + cells as f64 / rows,
        _ => cells as f64 / rows,
    };
    (count * (batch.mean() * (of_cells + per_row as f64) + per_body as f64), count)
}

/// The template, taken apart; none where there is none, or it is broken.
pub(super) fn template(
    cx: &mut Context,
    at: &Path,
    t: &file::Traffic,
    target: Option<&Target>,
    bodies: Option<&Bodies>,
) -> Option<Template> {
    let (key, text) = match (&t.template, &t.template_file) {
        (Some(text), None) => ("template", text.clone()),
        (None, Some(name)) => {
            let read = data::read(&cx.dir.join(name), name);
            ("template_file", cx.good(&at.key("template_file"), read)?)
        }
        (Some(_), Some(_)) => {
            cx.clash(at, "template_file", "`template` and `template_file` exclude each other", "keep one of them");
            return None;
        }
        (None, None) => return None,
    };
    if t.dataset.is_none() {
        let help = "add dataset = \"data/….csv\", or write `body`";
        cx.clash(at, key, "a template is filled from a dataset, and there is none", help);
        return None;
    }
    if target.is_some_and(|t| t.protocol != Protocol::Http) {
        let word = target.map_or("", |t| t.protocol.word());
        let message = format!("the protocol {word} says by itself what a body is");
        cx.wrong(&at.key(key), message, "remove it, or write protocol = \"http\"");
        return None;
    }
    let Some(Bodies::Dataset(table)) = bodies else { return None };
    let parsed = parse(&text, table).and_then(|template| probe(&template, table).map(|()| template));
    cx.good(&at.key(key), parsed)
}

/// Reads a template as JSON with holes: inside a string a hole becomes text, elsewhere a value.
fn parse(text: &str, table: &Dataset) -> Result<Template, (String, String)> {
    let mut template = Template::default();
    let (mut pieces, mut in_string, mut rest) = (Vec::new(), false, text);
    let mut inside_rows = false;
    let odd = |message: &str| {
        let help = "put {{#rows}} and {{/rows}} once around what stands for each row, outside of quotes";
        Err((message.to_owned(), help.to_owned()))
    };
    loop {
        let end = rest.find(OPEN).unwrap_or(rest.len());
        let (plain, more) = rest.split_at(end);
        in_string = quoted(plain, in_string);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        let Some(hole) = more.strip_prefix(OPEN) else { break };
        let Some((name, after)) = hole.split_once(CLOSE) else {
            return Err(("a `{{` without its `}}`".to_owned(), "write {{column}}".to_owned()));
        };
        rest = after;
        match name.trim() {
            "#rows" if in_string || inside_rows || template.each.is_some() => {
                return odd("`{{#rows}}` stands in quotes, or a second time");
            }
            "#rows" => {
                inside_rows = true;
                template.before = std::mem::take(&mut pieces);
            }
            "/rows" if in_string || !inside_rows => {
                return odd("`{{/rows}}` stands in quotes, or without its `{{#rows}}`");
            }
            "/rows" => {
                inside_rows = false;
                template.each = Some(std::mem::take(&mut pieces));
            }
            name => {
                let names: Vec<&str> = table.columns.iter().map(String::as_str).collect();
                let Some(column) = names.iter().position(|n| *n == name) else {
                    let help = words::did_you_mean(name, &names, "its columns");
                    return Err((format!("the dataset has no column `{}`", shortened(name)), help));
                };
                pieces.push(if in_string { Piece::Inside(column) } else { Piece::Value(column) });
            }
        }
    }
    if inside_rows {
        return odd("`{{#rows}}` without its `{{/rows}}`");
    }
    let place = if template.each.is_some() { &mut template.after } else { &mut template.before };
    *place = pieces;
    let holes = |pieces: &[Piece]| pieces.iter().any(|p| !matches!(p, Piece::Text(_)));
    if template.each.is_some() && (holes(&template.before) || holes(&template.after)) {
        return odd("a column stands outside of `{{#rows}}` … `{{/rows}}`, where it belongs to no row");
    }
    Ok(template)
}

/// Are we inside a JSON string after this text?
fn quoted(text: &str, mut in_string: bool) -> bool {
    let mut escaped = false;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    in_string
}

/// What it becomes must be JSON, with numbers and with texts in its holes.
fn probe(template: &Template, table: &Dataset) -> Result<(), (String, String)> {
    let fill = |pieces: &[Piece]| -> String {
        let piece = |p: &Piece| match p {
            Piece::Text(text) => text.clone(),
            Piece::Value(column) if table.numeric[*column] => "1".to_owned(),
            Piece::Value(_) => "\"x\"".to_owned(),
            Piece::Inside(_) => "x".to_owned(),
        };
        pieces.iter().map(piece).collect()
    };
    let each = template.each.as_deref().map(fill).unwrap_or_default();
    let filled = format!("{}{each}{}", fill(&template.before), fill(&template.after));
    match serde_json::from_str::<serde::de::IgnoredAny>(&filled) {
        Ok(_) => Ok(()),
        Err(e) => {
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or_default().to_owned();
            let help = "write JSON around the holes; `{{column}}` becomes a whole value, in quotes only its text";
            Err((format!("filled with a row it is not JSON: {what}"), help.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Dataset {
        Dataset {
            columns: vec!["id".into(), "country".into()],
            rows: vec![vec!["1".into(), "fr".into()]],
            labels: None,
            numeric: vec![true, false],
        }
    }

    fn read(text: &str) -> Result<Template, (String, String)> {
        parse(text, &table()).and_then(|t| probe(&t, &table()).map(|()| t))
    }

    #[test]
    fn holes_are_values_or_texts_by_where_they_stand() {
        let t = read(r#"{"tx":"a-{{id}}\"{{ country }}","country":{{country}}}"#).unwrap();
        let holes: Vec<&Piece> = t.before.iter().filter(|p| !matches!(p, Piece::Text(_))).collect();
        assert_eq!(holes, [&Piece::Inside(0), &Piece::Inside(1), &Piece::Value(1)]);
        let t = read(r#"{"rows":[{{#rows}}[{{id}},{{country}}]{{/rows}}],"n":1}"#).unwrap();
        assert_eq!((t.before.len(), t.each.unwrap().len(), t.after.len()), (1, 5, 1));
    }

    #[test]
    fn batches_and_templates_have_the_size_of_what_is_sent() {
        let target = crate::plan::tests_support::target(Protocol::Http, crate::plan::AnswerPaths::default());
        let bodies = Bodies::Dataset(std::sync::Arc::new(table()));
        let of =
            |rows, template: Option<&Template>| size(&target, &bodies, &Batch { sizes: vec![(rows, 1.0)] }, template);
        // Two names of 2 and 7 bytes, two cells of 1 and 2.
        assert_eq!(of(1, None), (9.0 + 17.0 + 64.0, 1.0));
        assert_eq!(of(1000, None), (1000.0 * (9.0 + 17.0) + 64.0, 1.0));
        let long = format!("[\"{}\",{{{{#rows}}}}{{{{id}}}}{{{{/rows}}}}]", "x".repeat(10_000));
        let (bytes, count) = of(1, Some(&read(&long).unwrap()));
        assert!(bytes > 10_000.0 && count == 1.0, "{bytes} {count}");
    }

    #[test]
    fn broken_templates_are_told() {
        for (text, message) in [
            ("{\"a\":{{id}", "a `{{` without its `}}`"),
            ("{\"a\":{{idd}}}", "the dataset has no column `idd`"),
            ("{\"a\":{{id}}", "filled with a row it is not JSON: EOF while parsing an object"),
            ("a={{id}}", "filled with a row it is not JSON: expected value"),
            ("[{{#rows}}{{id}}]", "`{{#rows}}` without its `{{/rows}}`"),
            ("[{{/rows}}]", "`{{/rows}}` stands in quotes, or without its `{{#rows}}`"),
            (
                "[{{id}},{{#rows}}1{{/rows}}]",
                "a column stands outside of `{{#rows}}` … `{{/rows}}`, where it belongs to no row",
            ),
            ("[\"{{#rows}}\"{{/rows}}]", "`{{#rows}}` stands in quotes, or a second time"),
        ] {
            assert_eq!(read(text).unwrap_err().0, message, "{text}");
        }
    }
}
