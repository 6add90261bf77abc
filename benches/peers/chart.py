"""One chart: ratios with their spread, as an SVG of a few kilobytes. No library, no script, no font of its own."""

import math
from html import escape

WIDTH, LEFT, RIGHT, ROW, TITLE = 860, 270, 130, 20, 30
INK, SOFT, PALE, GOOD, BAD, EVEN = "#1f2430", "#5b6270", "#c9ced8", "#1b7f4b", "#b3541e", "#6b7280"
WIDEST = 12  # ratios beyond this, or below its inverse, are drawn at the edge; their numbers stand beside them


def ratios(title, below, groups):
    """`groups`: (title, [(label, (median, low, high), more is better)]). A log scale, so that half and double are equally far from 1."""
    all_ratios = [value for _, lines in groups for _, ratio, _ in lines for value in ratio] + [0.8, 1.25]
    low, high = (math.log(min(max(edge, 1 / WIDEST), WIDEST)) for edge in (min(all_ratios), max(all_ratios)))
    low, high = low - 0.05, high + 0.05

    def across(ratio):
        place = (min(max(math.log(ratio), low), high) - low) / (high - low)  # also of a ratio that is infinite
        return LEFT + place * (WIDTH - LEFT - RIGHT)

    top = 74
    bottom = top + sum(TITLE + ROW * len(lines) for _, lines in groups)
    out = [text(20, 30, title, size=18, weight="bold"), text(20, 50, below, size=11, color=SOFT)]
    for tick in ticks(low, high):
        x = across(tick)
        strong = tick == 1
        out.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom + 6}" stroke="{INK if strong else PALE}" stroke-width="1"/>')
        out.append(text(x, bottom + 22, f"{tick:g} ×", anchor="middle", color=INK if strong else SOFT))
    y = top
    for name, lines in groups:
        out.append(text(20, y + 20, name, weight="bold"))
        y += TITLE
        for label, (median, least, most), more in lines:
            color = EVEN if least <= 1 <= most else GOOD if (median > 1) == more else BAD
            middle = y + ROW / 2
            out.append(text(LEFT - 12, middle + 4, f"{label}  {'↑' if more else '↓'}", anchor="end"))
            out.append(f'<line x1="{across(least):.1f}" y1="{middle}" x2="{across(most):.1f}" y2="{middle}" stroke="{color}" stroke-width="3" stroke-opacity="0.4"/>')
            out.append(f'<circle cx="{across(median):.1f}" cy="{middle}" r="4.5" fill="{color}"/>')
            out.append(text(WIDTH - 20, middle + 4, words_of((median, least, most)), anchor="end"))
            y += ROW
    out.append(text(20, bottom + 46, "↑ more is better · ↓ less is better · green: resbench leads in every round, brown: it trails in every round, grey: it depends on the round", size=11, color=SOFT))
    height = bottom + 60
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(out) + "\n</svg>\n"
    )


def words_of(ratio):
    """Median and range, to two digits or to two that are not zero: `0.98 (0.91–1.02)`."""
    digits = lambda value: "∞" if math.isinf(value) else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"  # noqa: E731
    median, least, most = map(digits, ratio)
    return f"{median} ({least}–{most})"


def text(x, y, words, size=12, weight="normal", anchor="start", color=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'


def ticks(low, high):
    """1, and what is half, double, a fifth, five times … of it and in sight."""
    near = [0.1, 0.2, 0.5, 1, 2, 5, 10] if high - low > 1.5 else [0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2]
    return [tick for tick in near if low <= math.log(tick) <= high]
