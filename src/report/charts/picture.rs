//! A picture: shapes in CSS pixels, and how they are put on a plotters backend.
//!
//! Charts are drawn into this list once; SVG (4 units a pixel, so that lines need not snap to pixels) and PNG
//! (2 pixels a pixel, for sharp screens) are two backends that the same list is replayed on. Drawing to memory
//! cannot fail, which is why nothing here returns an error.

use std::sync::Once;

use plotters::backend::BitMapBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBAColor, RGBColor, ShapeStyle, register_font};
use plotters_backend::DrawingBackend;

use super::ink::Ink;
use super::svg::SvgBackend;

/// A point in CSS pixels from the upper left.
pub(in crate::report) type Point = (f64, f64);

/// Where a text stands relative to its point; the point lies on the base line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) enum Align {
    Left,
    Center,
    Right,
}

#[derive(Clone, Debug)]
enum Shape {
    Rect { from: Point, to: Point, ink: Ink, alpha: f64 },
    Area { points: Vec<Point>, ink: Ink, alpha: f64 },
    Line { points: Vec<Point>, ink: Ink, alpha: f64, width: f64 },
    Text { at: Point, text: String, size: f64, align: Align, ink: Ink, bold: bool },
}

/// Shapes, in the order of painting.
#[derive(Clone, Debug)]
pub(in crate::report) struct Picture {
    width: u32,
    height: u32,
    title: String,
    shapes: Vec<Shape>,
}

/// Height of the title, which a page leaves out: it has a heading of its own.
pub(in crate::report) const TITLE: u32 = 24;

/// Long lines of text would leave the picture; data is cut to this many characters.
const TEXT_LIMIT: usize = 120;
/// Width of the lines of a hatch.
const HATCH: f64 = 0.7;
/// Backend units per CSS pixel in SVG.
const SVG_SCALE: f64 = 4.0;
/// Pixels per CSS pixel in PNG.
const PNG_SCALE: f64 = 2.0;

impl Picture {
    pub(in crate::report) fn new(width: u32, height: u32) -> Picture {
        Picture { width, height, title: String::new(), shapes: vec![] }
    }

    /// The title, painted in files only, within the uppermost [`TITLE`] pixels.
    pub(in crate::report) fn title(&mut self, title: &str) {
        self.title = title.to_owned();
    }

    /// A filled rectangle; nothing when it is empty.
    pub(in crate::report) fn rect(&mut self, from: Point, to: Point, ink: Ink, alpha: f64) {
        if to.0 > from.0 && to.1 > from.1 {
            self.shapes.push(Shape::Rect { from, to, ink, alpha });
        }
    }

    /// A filled polygon.
    pub(in crate::report) fn area(&mut self, points: Vec<Point>, ink: Ink, alpha: f64) {
        if points.len() > 2 {
            self.shapes.push(Shape::Area { points, ink, alpha });
        }
    }

    /// A line through the points.
    pub(in crate::report) fn line(&mut self, points: Vec<Point>, ink: Ink, width: f64) {
        self.faint_line(points, ink, width, 1.0);
    }

    /// A line one can see through.
    pub(in crate::report) fn faint_line(&mut self, points: Vec<Point>, ink: Ink, width: f64, alpha: f64) {
        if points.len() > 1 {
            self.shapes.push(Shape::Line { points, ink, alpha, width });
        }
    }

    /// A broken line: `dash` pixels drawn, `gap` left out.
    pub(in crate::report) fn dashed(&mut self, points: &[Point], ink: Ink, width: f64, (dash, gap): (f64, f64)) {
        for piece in dashes(points, dash, gap) {
            self.line(piece, ink, width);
        }
    }

    /// Slanted lines over a rectangle, for what colour alone must not say.
    pub(in crate::report) fn hatch(&mut self, from: Point, to: Point, ink: Ink, spacing: f64) {
        let height = to.1 - from.1;
        // Lines start on a grid of the whole picture, so that neighbouring hatches join.
        let mut foot = ((from.0 + from.1) / spacing).ceil() * spacing - from.1 - height;
        while foot < to.0 {
            // The line runs from (foot, bottom) to (foot + height, top), cut at both sides.
            let (left, right) = (foot.max(from.0), (foot + height).min(to.0));
            if right > left {
                self.line(vec![(left, to.1 - (left - foot)), (right, to.1 - (right - foot))], ink, HATCH);
            }
            foot += spacing;
        }
    }

    /// A small filled circle.
    pub(in crate::report) fn dot(&mut self, (x, y): Point, radius: f64, ink: Ink) {
        let corner = |n: u32| (f64::from(n) * std::f64::consts::TAU / 16.0).sin_cos();
        self.area((0..16).map(corner).map(|(s, c)| (x + radius * c, y + radius * s)).collect(), ink, 1.0);
    }

    /// A filled triangle with its tip at the point.
    pub(in crate::report) fn triangle(&mut self, (x, y): Point, size: f64, up: bool, ink: Ink) {
        let base = if up { y + size } else { y - size };
        self.area(vec![(x, y), (x - size * 0.6, base), (x + size * 0.6, base)], ink, 1.0);
    }

    /// A line of words.
    pub(in crate::report) fn text(&mut self, at: Point, text: &str, size: f64, align: Align, ink: Ink) {
        let text = crate::report::format::short(text, TEXT_LIMIT);
        self.shapes.push(Shape::Text { at, text, size, align, ink, bold: false });
    }

    /// A line of strong words.
    pub(in crate::report) fn bold(&mut self, at: Point, text: &str, size: f64, align: Align, ink: Ink) {
        self.text(at, text, size, align, ink);
        if let Some(Shape::Text { bold, .. }) = self.shapes.last_mut() {
            *bold = true;
        }
    }

    /// Width and height in CSS pixels.
    pub(in crate::report) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The shapes as SVG elements, without the `<svg>` around them.
    pub(in crate::report) fn svg_body(&self) -> String {
        let mut backend = SvgBackend::new((self.width, self.height), SVG_SCALE);
        paint(&mut backend, &self.shapes, SVG);
        backend.finish()
    }

    /// The title as an SVG element.
    pub(in crate::report) fn svg_title(&self) -> String {
        let mut backend = SvgBackend::new((self.width, self.height), SVG_SCALE);
        paint(&mut backend, &[self.title_shape()], SVG);
        backend.finish()
    }

    fn title_shape(&self) -> Shape {
        let text = self.title.clone();
        Shape::Text { at: (8.0, 18.0), text, size: 16.0, align: Align::Left, ink: Ink::Text, bold: true }
    }

    /// RGB pixels on white, and their width and height.
    pub(in crate::report) fn pixels(&self) -> (Vec<u8>, u32, u32) {
        use_own_font();
        let (width, height) = (self.width * PNG_SCALE as u32, self.height * PNG_SCALE as u32);
        let mut buffer = vec![0xff; (width * height * 3) as usize];
        let mut backend = BitMapBackend::with_buffer(&mut buffer, (width, height));
        paint(&mut backend, &[self.title_shape()], PNG);
        paint(&mut backend, &self.shapes, PNG);
        backend.present().expect(MEMORY);
        drop(backend);
        (buffer, width, height)
    }
}

/// How pixels and fonts of a backend differ from CSS pixels.
#[derive(Clone, Copy)]
struct Device {
    scale: f64,
    /// Size of a font as the backend counts it, per em.
    line_height: f64,
    /// Whether strong words are written twice, half a pixel apart, because there is but one font.
    double_strike: bool,
}

const SVG: Device = Device { scale: SVG_SCALE, line_height: 1.0, double_strike: false };
// ab_glyph sizes a font by its line height, CSS by its em; plotters' own factor between them is 1.24.
const PNG: Device = Device { scale: PNG_SCALE, line_height: 1.24, double_strike: true };

fn paint<DB: DrawingBackend>(backend: &mut DB, shapes: &[Shape], device: Device) {
    let px = |p: Point| ((p.0 * device.scale).round() as i32, (p.1 * device.scale).round() as i32);
    for shape in shapes {
        match shape {
            Shape::Rect { from, to, ink, alpha } => {
                backend.draw_rect(px(*from), px(*to), &style(*ink, *alpha, 1), true).map_err(|e| e.to_string())
            }
            Shape::Area { points, ink, alpha } => {
                backend.fill_polygon(points.iter().map(|p| px(*p)), &style(*ink, *alpha, 1)).map_err(|e| e.to_string())
            }
            Shape::Line { points, ink, alpha, width } => {
                let width = (width * device.scale).round().max(1.0) as u32;
                // The same point twice has no direction, which plotters' pen for wide lines cannot draw.
                let mut path: Vec<_> = points.iter().map(|p| px(*p)).collect();
                path.dedup();
                backend.draw_path(path, &style(*ink, *alpha, width)).map_err(|e| e.to_string())
            }
            Shape::Text { at, text, size, align, ink, bold } => {
                let anchor = match align {
                    Align::Left => HPos::Left,
                    Align::Center => HPos::Center,
                    Align::Right => HPos::Right,
                };
                let weight = if *bold { FontStyle::Bold } else { FontStyle::Normal };
                let size = size * device.scale * device.line_height;
                let font = ("sans-serif", size, weight).into_font();
                let words = font.color(&colour(*ink, 1.0)).pos(Pos::new(anchor, VPos::Top));
                // plotters sets the base line half a line height below the top.
                let (x, y) = px(*at);
                let y = y - (size / 2.0).round() as i32;
                let strikes = if *bold && device.double_strike { 2 } else { 1 };
                (0..strikes).try_for_each(|n| backend.draw_text(text, &words, (x + n, y))).map_err(|e| e.to_string())
            }
        }
        .expect(MEMORY);
    }
}

const MEMORY: &str = "drawing to memory with a registered font cannot fail";

fn colour(ink: Ink, alpha: f64) -> RGBAColor {
    let rgb = ink.light();
    RGBColor((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8).mix(alpha)
}

fn style(ink: Ink, alpha: f64, width: u32) -> ShapeStyle {
    ShapeStyle { color: colour(ink, alpha), filled: true, stroke_width: width }
}

/// plotters looks fonts up in a table of the process.
fn use_own_font() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let fine = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok();
        assert!(fine, "the font inside the binary is whole");
    });
}

/// Cuts a line into its drawn pieces.
fn dashes(points: &[Point], dash: f64, gap: f64) -> Vec<Vec<Point>> {
    let mut pieces = vec![];
    let mut piece: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, dash);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length < left {
                left -= length;
                if drawing {
                    piece.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            if drawing {
                piece.push(from);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![from];
            }
            drawing = !drawing;
            left = if drawing { dash } else { gap };
        }
    }
    if drawing && piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashed_line_keeps_its_length_and_its_rhythm() {
        let pieces = dashes(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], 6.0, 3.0);
        let length = |p: &Vec<Point>| p.windows(2).map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1)).sum::<f64>();
        let lengths: Vec<f64> = pieces.iter().map(length).collect();
        assert_eq!(lengths.len(), 3);
        for (got, want) in lengths.iter().zip([6.0, 6.0, 2.0]) {
            assert!((got - want).abs() < 1e-9, "{lengths:?}");
        }
        assert!(dashes(&[], 4.0, 2.0).is_empty());
    }

    #[test]
    fn svg_and_png_come_from_the_same_shapes() {
        let mut picture = Picture::new(40, 20);
        picture.rect((1.0, 1.0), (5.5, 9.0), Ink::Good, 1.0);
        picture.text((20.0, 15.0), "a<b", 10.0, Align::Center, Ink::Text);
        let svg = picture.svg_body();
        assert!(svg.contains("M1 1h4.5v8h-4.5z") && svg.contains("a&lt;b"), "{svg}");
        let (pixels, width, height) = picture.pixels();
        assert_eq!((width, height, pixels.len()), (80, 40, 80 * 40 * 3));
        let good = Ink::Good.light();
        let at = |x: usize, y: usize| (y * 80 + x) * 3;
        assert_eq!(&pixels[at(6, 6)..at(6, 6) + 3], &[(good >> 16) as u8, (good >> 8) as u8, good as u8]);
        assert!(pixels[at(30, 20)..].iter().any(|p| *p < 0x80), "the words are there");
    }
}
