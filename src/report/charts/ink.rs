//! The colours, by what they mean. Okabe–Ito for categories, viridis for the heat map: both are made for
//! eyes that see fewer colours; dashes, hatches and labels say the same once more.
//!
//! Every ink has its own RGB value in the light palette, so that the HTML can swap it for the dark one with
//! an attribute selector (`[fill="#0072b2"]`) and the SVG stays whole without any style sheet.

use std::fmt::Write as _;

/// What a shape is painted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Ink {
    /// Ground of the page, and halos.
    Paper,
    /// Words and axes.
    Text,
    /// Lesser words.
    Muted,
    /// Grid lines.
    Grid,
    /// Shading of every second phase.
    Phase,
    /// Good within W.
    Good,
    /// Good, but slower than W.
    Slow,
    /// Failed.
    Bad,
    /// Never sent.
    Shed,
    /// A fault.
    Fault,
    /// Median.
    P50,
    /// 99th percentile.
    P99,
    /// Largest.
    Max,
    /// The bound of an objective.
    Bound,
    /// Recovered.
    Back,
    /// Curve of the n-th span.
    Series(u8),
    /// Heat, 0 (few) to 11 (many).
    Heat(u8),
}

/// Steps of the heat map.
pub(in crate::report) const HEAT: u8 = 12;
/// Curves that can be told apart.
pub(in crate::report) const SERIES: u8 = 8;

/// (ink, light, dark).
const PALETTE: [(Ink, u32, u32); 15] = [
    (Ink::Paper, 0xffffff, 0x14181d),
    (Ink::Text, 0x1b1f24, 0xe6e9ed),
    (Ink::Muted, 0x57606a, 0xa3adb8),
    (Ink::Grid, 0xe3e7eb, 0x2c333b),
    (Ink::Phase, 0xf3f5f8, 0x1b2128),
    (Ink::Good, 0x9ad0bd, 0x1f6f58),
    (Ink::Slow, 0xe8c547, 0xb8932a),
    (Ink::Bad, 0xd55e00, 0xf0803c),
    (Ink::Shed, 0xb25f92, 0xd88fbc),
    (Ink::Fault, 0xe69f00, 0xe6a532),
    (Ink::P50, 0x3d9bd1, 0x7cc4f0),
    (Ink::P99, 0x0b5c96, 0x4aa3e8),
    (Ink::Max, 0x8a939d, 0x77818c),
    (Ink::Bound, 0x9c1f5b, 0xff86b5),
    (Ink::Back, 0x007a57, 0x35c79a),
];

// Okabe–Ito, its yellow and its pale blue darkened so that thin lines show on white.
const CURVES: [(u32, u32); SERIES as usize] = [
    (0x0072b2, 0x56b4e9),
    (0xcf5a00, 0xff9d57),
    (0x00805c, 0x2ecb9b),
    (0xa8548a, 0xe29cc8),
    (0x8a6d00, 0xe0c04a),
    (0x1b9ac4, 0x9fdcf7),
    (0x4b4f54, 0xb9c0c8),
    (0x7a3e9d, 0xc49ae0),
];

/// Viridis without its palest and darkest ends, few → many on dark ground; read backwards on white.
const VIRIDIS: [u32; HEAT as usize] = [
    0x46327e, 0x414287, 0x3b528b, 0x34618d, 0x2c728e, 0x25838e, 0x1f968b, 0x29af7f, 0x4ac16d, 0x7ad151, 0xaadc32,
    0xd2e21b,
];

impl Ink {
    /// On white, and in files.
    pub(in crate::report) fn light(self) -> u32 {
        match self {
            Ink::Series(n) => CURVES[usize::from(n % SERIES)].0,
            Ink::Heat(n) => VIRIDIS[usize::from(HEAT - 1 - n.min(HEAT - 1))],
            plain => PALETTE.iter().find(|(ink, ..)| *ink == plain).map_or(0, |(_, light, _)| *light),
        }
    }

    /// For attributes: `#0072b2`.
    pub(in crate::report) fn hex(self) -> String {
        format!("#{:06x}", self.light())
    }
}

/// The rules that swap every ink inside `svg.chart` for its dark one.
pub(in crate::report) fn dark_rules() -> String {
    let plain = PALETTE.iter().map(|(_, light, dark)| (*light, *dark));
    let heat = (0..HEAT).map(|n| (Ink::Heat(n).light(), VIRIDIS[usize::from(n)]));
    let mut css = String::new();
    for (light, dark) in plain.chain(CURVES).chain(heat) {
        write!(css, "svg.chart [fill=\"#{light:06x}\"]{{fill:#{dark:06x}}}svg.chart [stroke=\"#{light:06x}\"]{{stroke:#{dark:06x}}}")
            .expect("writing to a string");
    }
    css
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn inks() -> Vec<Ink> {
        let plain = PALETTE.iter().map(|(ink, ..)| *ink);
        plain.chain((0..SERIES).map(Ink::Series)).chain((0..HEAT).map(Ink::Heat)).collect()
    }

    #[test]
    fn every_ink_is_its_own_key() {
        let keys: BTreeSet<u32> = inks().into_iter().map(Ink::light).collect();
        assert_eq!(keys.len(), inks().len());
    }

    /// Relative luminance, WCAG 2.1.
    fn luminance(rgb: u32) -> f64 {
        let channel = |shift: u32| {
            let c = f64::from((rgb >> shift) & 0xff) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
    }

    fn contrast(a: u32, b: u32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn words_have_enough_contrast_in_both_palettes() {
        let of = |ink| PALETTE.iter().find(|(i, ..)| *i == ink).copied().unwrap();
        let (_, paper_light, paper_dark) = of(Ink::Paper);
        let (_, phase_light, phase_dark) = of(Ink::Phase);
        for ink in [Ink::Text, Ink::Muted, Ink::Bound, Ink::Back] {
            let (_, light, dark) = of(ink);
            assert!(contrast(light, paper_light).min(contrast(light, phase_light)) >= 4.5, "{ink:?} on white");
            assert!(contrast(dark, paper_dark).min(contrast(dark, phase_dark)) >= 4.5, "{ink:?} on black");
        }
        for (light, dark) in CURVES {
            assert!(contrast(light, paper_light) >= 3.0 && contrast(dark, paper_dark) >= 3.0, "{light:06x}");
        }
    }
}
