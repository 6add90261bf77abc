//! What is wrong with a scenario, where, and what to write instead.
//!
//! Owns [`Problem`], the sorted list of them, and how they are shown. Leaves alone how they are found.

use std::fmt;
use std::ops::Range;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan,
    SpanContents,
};

use super::limits;
use super::tree::{Origin, Path};

/// One thing that is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the scenario file, from 1; 0 when the problem is not in the file's text.
    pub line: usize,
    /// Column in characters, from 1; 0 as above.
    pub column: usize,
    /// The key it speaks of, for example `phase[1].rate`; empty for the file as a whole.
    pub path: String,
    /// The `--set` that brought it in, as typed; none when it stands in the file.
    pub set: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// Bytes to underline, in the file or in the `--set`; none for the file as a whole.
    span: Option<Range<usize>>,
}

/// Every problem of one scenario, sorted by place: the file from top to bottom, then each `--set`.
#[derive(Clone, Debug)]
pub struct Problems {
    file: String,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// All of them (at most 200), sorted by place; never empty.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// As a person reads them: each with its place, the text underlined, and a help line; a count at the end.
    pub fn render(&self, color: bool, width: usize) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler =
            GraphicalReportHandler::new_themed(theme).with_width(width.max(40)).with_links(false).with_context_lines(0);
        let mut out = String::new();
        for problem in &self.list {
            let shown = Shown { problem, source: self.source_of(problem) };
            // Writing to a String fails only if the renderer itself gives up; the plain line then still says it all.
            if handler.render_report(&mut out, &shown).is_err() {
                out.push_str(&self.line_of(problem));
            }
            out.push('\n');
        }
        let count = self.list.len();
        out.push_str(&format!("{count} problem{} in {}\n", if count == 1 { "" } else { "s" }, self.file));
        out
    }

    fn source_of(&self, problem: &Problem) -> Option<Line> {
        let span = problem.span.as_ref()?;
        Some(match &problem.set {
            Some(set) => Line::around("--set", &clean(set), span.start),
            None => Line::around(&self.file, &self.text, span.start),
        })
    }

    fn line_of(&self, problem: &Problem) -> String {
        let Problem { line, column, path, message, help, .. } = problem;
        let place = match &problem.set {
            Some(set) => format!("--set {}", clean(set)),
            None if *line == 0 => self.file.clone(),
            None => format!("{}:{line}:{column}", self.file),
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        format!("{place}: {path}{message}\n  help: {help}\n")
    }
}

impl fmt::Display for Problems {
    /// Plain lines, two for each problem: `file:line:column: path: message` and its help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.iter().try_for_each(|p| f.write_str(&self.line_of(p)))
    }
}

impl std::error::Error for Problems {}

/// One problem in the shape that miette renders.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: Option<Line>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem.path.as_str() {
            "" => f.write_str(&self.problem.message),
            path => write!(f, "{path}: {}", self.problem.message),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.problem.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

/// The line that a problem stands on, which is all of the text that is shown with it.
#[derive(Debug)]
struct Line {
    name: String,
    text: String,
    /// First byte of `text` in the whole.
    start: usize,
    /// Line and column of the problem, from 0.
    place: (usize, usize),
}

impl Line {
    /// Bytes shown on each side of a problem's first byte: a line may be as long as a file.
    const REACH: usize = 300;

    fn around(name: &str, whole: &str, at: usize) -> Line {
        let at = at.min(whole.len());
        let line_start = whole[..at].rfind('\n').map_or(0, |n| n + 1);
        let line_end = whole[at..].find('\n').map_or(whole.len(), |n| at + n);
        // Only widened to whole characters, so that what is underlined stays inside.
        let start = (0..=line_start.max(at.saturating_sub(Line::REACH))).rev().find(|n| whole.is_char_boundary(*n));
        let end = (line_end.min(at + Line::REACH)..=line_end).find(|n| whole.is_char_boundary(*n));
        let (start, end) = (start.unwrap_or(0), end.unwrap_or(line_end));
        let (line, column) = line_and_column(whole, at);
        Line { name: name.to_owned(), text: whole[start..end].to_owned(), start, place: (line - 1, column - 1) }
    }
}

impl SourceCode for Line {
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        _: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = (self.start, self.text.len()).into();
        let (line, column) = self.place;
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), self.text.as_bytes(), span, line, column, 1)))
    }
}

/// Collects problems while a scenario is read.
pub(super) struct Report<'a> {
    file: String,
    text: &'a str,
    sets: &'a [String],
    found: Vec<(Path, Problem)>,
    /// How many of those are departures from the schema; what comes after them is about sense.
    shape: usize,
    /// Values that no message may carry.
    pub(super) secrets: Vec<String>,
}

impl<'a> Report<'a> {
    /// An empty report on a file of this name and text, and these `--set`.
    pub(super) fn new(file: String, text: &'a str, sets: &'a [String]) -> Report<'a> {
        Report { file, text, sets, found: Vec::new(), shape: 0, secrets: Vec::new() }
    }

    /// Notes a problem.
    pub(super) fn add(&mut self, path: &Path, at: &Origin, message: impl Into<String>, help: impl Into<String>) {
        let (line, column, set, span) = match at {
            Origin::Whole => (0, 0, None, None),
            Origin::File(span) => {
                let (line, column) = line_and_column(self.text, span.start);
                (line, column, None, Some(underlined(self.text, span)))
            }
            Origin::Set(index, span) => {
                let set = self.sets.get(*index).cloned().unwrap_or_default();
                let span = underlined(&set, span);
                (0, 0, Some(set), Some(span))
            }
        };
        let (message, help) = (message.into(), help.into());
        self.found.push((path.clone(), Problem { line, column, path: path.to_string(), set, message, help, span }));
    }

    /// Line of the file, from 1; 0 for what does not stand in it.
    pub(super) fn line(&self, at: &Origin) -> usize {
        if let Origin::File(span) = at { line_and_column(self.text, span.start).0 } else { 0 }
    }

    /// Nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Everything that the schema has to say is said.
    pub(super) fn shape_is_checked(&mut self) {
        self.shape = self.found.len();
    }

    /// Something at this path or below it departs from the schema, so it cannot be read.
    pub(super) fn is_broken(&self, path: &Path) -> bool {
        self.found[..self.shape].iter().any(|(p, _)| p.starts_with(path))
    }

    /// Sorted, without doubles, with every secret masked.
    pub(super) fn into_problems(self) -> Problems {
        let mask = |text: &str| masked(text, &self.secrets);
        let mut list: Vec<Problem> = self.found.into_iter().map(|(_, p)| p).collect();
        for p in &mut list {
            (p.message, p.help, p.path) = (mask(&p.message), mask(&p.help), mask(&p.path));
        }
        let set_order = |p: &Problem| p.set.as_ref().and_then(|s| self.sets.iter().position(|t| t == s)).map(|i| i + 1);
        list.sort_by_cached_key(|p| (set_order(p), p.line, p.column, p.path.clone()));
        list.dedup_by(|b, a| (a.line, a.column, &a.set, &a.message) == (b.line, b.column, &b.set, &b.message));
        list.truncate(limits::PROBLEMS);
        Problems { file: clean(&self.file), text: clean(self.text), list }
    }
}

/// A text for people: no secret, no control characters.
pub(super) fn masked(text: &str, secrets: &[String]) -> String {
    clean(&secrets.iter().fold(text.to_owned(), |t, s| t.replace(s.as_str(), "***")))
}

/// A span that stays on its first line, and short: an underlined table of fifty lines shows nothing.
fn underlined(text: &str, span: &Range<usize>) -> Range<usize> {
    let whole = |at: usize| (0..=at.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    let start = whole(span.start);
    let end = whole(span.end.clamp(start, start + Line::REACH));
    let end = text[start..end].find('\n').map_or(end, |n| start + n);
    // Something that is missing at the end of a line has no width of its own; its last character stands in.
    let before = text[..start].char_indices().next_back().filter(|(_, c)| end == start && *c != '\n');
    before.map_or(start, |(n, _)| n)..end
}

/// Line and column of a byte, both from 1; the column counts characters.
fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

/// Without control characters, so that a scenario cannot drive the terminal that shows it. Byte positions stay.
fn clean(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if harmless(c) {
            out.push(c);
        } else {
            out.extend(std::iter::repeat_n(if c == '\r' { ' ' } else { '?' }, c.len_utf8()));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_in_characters() {
        let text = "a = 1\nü = x\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, text.find('x').unwrap()), (2, 5));
        assert_eq!(line_and_column("", 9), (1, 1));
    }

    #[test]
    fn nothing_shown_can_drive_a_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\r\n"), "a?[2Jb??c \n");
    }

    #[test]
    fn a_line_as_long_as_a_file_is_shown_in_part() {
        let text = format!("a = 1\nb = \"{}\"", "ü".repeat(400_000));
        for at in [10, 11, 400_000, 400_001, text.len()] {
            let mut report = Report::new("x.toml".into(), &text, &[]);
            let at = (at..).find(|n| text.is_char_boundary(*n)).unwrap();
            report.add(&Path::root(), &Origin::File(at..text.len()), "wrong", "write it right");
            let shown = report.into_problems().render(false, 100);
            assert!(shown.contains("[x.toml:2:") && shown.len() < 5_000, "{at}: {} bytes", shown.len());
        }
    }

    #[test]
    fn secrets_stay_out_of_messages() {
        let mut report = Report::new("x.toml".into(), "rate = \"${T}\"\n", &[]);
        report.secrets.push("hunter2".into());
        report.add(&Path::root(), &Origin::File(7..13), "`hunter2` is not a number", "not hunter2");
        let shown = report.into_problems().render(false, 100);
        assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("${T}"), "{shown}");
    }
}
