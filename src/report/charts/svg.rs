//! A plotters backend that writes small SVG: parts of a pixel, and neighbours of one style in one `<path>`.
//!
//! The stock backend of plotters writes an element per shape, in whole units; a heat map of it is megabytes.
//! Owns SVG syntax and its escaping; leaves alone the `<svg>` element, which differs between file and HTML.

use std::convert::Infallible;
use std::fmt::Write as _;

use plotters_backend::text_anchor::HPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
};

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// Collects SVG elements.
pub(super) struct SvgBackend {
    size: (u32, u32),
    scale: f64,
    out: String,
    /// Attributes and data of the path that is still growing.
    open: Option<(String, String)>,
}

impl SvgBackend {
    /// `size` in CSS pixels, `scale` backend units each.
    pub(super) fn new(size: (u32, u32), scale: f64) -> SvgBackend {
        SvgBackend { size, scale, out: String::new(), open: None }
    }

    /// The elements.
    pub(super) fn finish(mut self) -> String {
        self.close();
        self.out
    }

    fn close(&mut self) {
        if let Some((attributes, data)) = self.open.take() {
            let _ = writeln!(self.out, "<path {attributes} d=\"{data}\"/>");
        }
    }

    /// Appends to the open path if it looks the same, else starts another. Shapes one can see through are
    /// never joined: where two overlap, one path would paint once instead of twice.
    fn path(&mut self, attributes: String, data: &str, opaque: bool) {
        match &mut self.open {
            Some((same, so_far)) if *same == attributes && opaque => so_far.push_str(data),
            _ => {
                self.close();
                self.open = Some((attributes, data.to_owned()));
            }
        }
    }

    /// Backend units as CSS pixels, without needless digits: quarters at most.
    fn px(&self, units: i32) -> f64 {
        f64::from(units) / self.scale
    }

    fn fill(&mut self, color: BackendColor, data: &str) {
        let opacity = opacity("fill-opacity", color);
        self.path(format!("fill=\"{}\"{opacity}", hex(color)), data, color.alpha >= 1.0);
    }

    fn stroke<S: BackendStyle>(&mut self, style: &S, data: &str) {
        let color = style.color();
        let opacity = opacity("stroke-opacity", color);
        let width = f64::from(style.stroke_width()) / self.scale;
        let attributes = format!("fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"{opacity}", hex(color));
        self.path(attributes, data, color.alpha >= 1.0);
    }

    /// `M x y` and relative steps, which are short.
    fn trace(&self, points: impl IntoIterator<Item = BackendCoord>) -> String {
        let mut data = String::new();
        let mut last: Option<BackendCoord> = None;
        for (x, y) in points {
            let _ = match last {
                None => write!(data, "M{} {}", self.px(x), self.px(y)),
                Some((_, y0)) if y0 == y => write!(data, "H{}", self.px(x)),
                Some((x0, _)) if x0 == x => write!(data, "V{}", self.px(y)),
                Some((x0, y0)) => write!(data, "l{} {}", self.px(x - x0), self.px(y - y0)),
            };
            last = Some((x, y));
        }
        data
    }
}

fn hex(color: BackendColor) -> String {
    let (r, g, b) = color.rgb;
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn opacity(name: &str, color: BackendColor) -> String {
    if color.alpha >= 1.0 { String::new() } else { format!(" {name}=\"{}\"", color.alpha) }
}

/// Text inside an element or a quoted attribute.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

impl DrawingBackend for SvgBackend {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let units = |px: u32| (f64::from(px) * self.scale) as u32;
        (units(self.size.0), units(self.size.1))
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        let data = format!("{}h1v1h-1z", self.trace([(x, y)]));
        self.fill(color, &data);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn {
        let (width, height) = (self.px(to.0 - from.0), self.px(to.1 - from.1));
        let data = format!("{}h{width}v{height}h{}z", self.trace([from]), -width);
        if fill {
            // Neighbouring cells meet on parts of a pixel; smooth edges would let the ground shine through.
            let color = style.color();
            let attributes =
                format!("fill=\"{}\"{} shape-rendering=\"crispEdges\"", hex(color), opacity("fill-opacity", color));
            self.path(attributes, &data, color.alpha >= 1.0);
        } else {
            self.stroke(style, &data);
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let data = self.trace(path);
        self.stroke(style, &data);
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let data = format!("{}z", self.trace(path));
        self.fill(style.color(), &data);
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        self.close();
        let anchor = match style.anchor().h_pos {
            HPos::Left => "",
            HPos::Center => " text-anchor=\"middle\"",
            HPos::Right => " text-anchor=\"end\"",
        };
        let weight = if matches!(style.style(), FontStyle::Bold) { " font-weight=\"600\"" } else { "" };
        // The point is the top of the line; its base line lies half a size below (see picture.rs).
        let (size, y) = (style.size() / self.scale, f64::from(y) + style.size() / 2.0);
        let _ = writeln!(
            self.out,
            "<text x=\"{}\" y=\"{}\" font-size=\"{size}\"{anchor}{weight} fill=\"{}\">{}</text>",
            self.px(x),
            self.px(y.round() as i32),
            hex(style.color()),
            escape(text)
        );
        Ok(())
    }
}
