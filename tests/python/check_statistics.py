#!/usr/bin/env python3
"""Compares the statistics of resbench with scipy, numpy and Apache Otava.

usage: check_statistics.py NUMBERS.json
NUMBERS.json is written by `RESBENCH_NUMBERS=… cargo test --test prove -- --ignored numbers_for_python`: inputs, and what was made of them.
"""

import json
import math
import sys

import numpy as np
import otava.analysis
from scipy import special, stats

problems = []
compared = 0


def near(what, got, want, tolerance=1e-9):
    global compared
    compared += 1
    if got is None or not abs(got - want) <= tolerance * max(1.0, abs(want)):
        problems.append(f"{what}: {got}, expected {want}")


def check_distributions(case):
    a, b, x, p, t, freedom = (case[k] for k in ("a", "b", "x", "p", "t", "freedom"))
    near(f"I_{x}({a}, {b})", case["beta"], special.betainc(a, b, x))
    near(f"beta quantile {p} of {a}, {b}", case["beta_quantile"], special.betaincinv(a, b, p))
    near(f"ln gamma {a}", case["ln_gamma"], special.gammaln(a), 1e-12)
    near(f"normal tail {t}", case["normal_upper"], stats.norm.sf(t), 1e-13)
    near(f"normal quantile {p}", case["normal_quantile"], stats.norm.ppf(p), 1e-12)
    near(f"student {t}, {freedom}", case["student"], stats.t.cdf(t, freedom), 1e-12)
    near(f"student quantile {p}, {freedom}", case["student_quantile"], stats.t.ppf(p, freedom), 1e-8)


def wilcoxon(d):
    """scipy counts ties and zeros only by going through all signs."""
    d = np.asarray(d)
    if len(set(np.abs(d))) == len(d) and 0 not in d:
        return stats.wilcoxon(d, alternative="greater", method="exact").pvalue
    if not d.any():
        return 1.0
    every_sign = stats.PermutationMethod(n_resamples=math.inf)
    return stats.wilcoxon(d, zero_method="pratt", alternative="greater", method=every_sign).pvalue


def check_paired(case):
    d = np.array(case["d"])
    near(f"signed rank of {d}", case["p"], wilcoxon(d))
    walsh = [(x + y) / 2 for i, x in enumerate(d) for y in d[i:]]
    near(f"Hodges-Lehmann of {d}", case["estimate"], np.median(walsh))
    signs = (int((d > 0).sum()), int((d != 0).sum()))
    near(f"signs of {d}", case["sign_p"], stats.binomtest(*signs, alternative="greater").pvalue if signs[1] else 1.0)
    sign_test = stats.quantile_test(d, p=0.5).confidence_interval(confidence_level=0.95)
    if case["sign_interval"]["low"] is not None:
        near(f"low end of the median of {d}", case["sign_interval"]["low"], sign_test.low)
        near(f"high end of the median of {d}", case["sign_interval"]["high"], sign_test.high)
    check_interval(case, d)


def check_interval(case, d):
    """Just inside an end a shift is not excluded, just outside it is."""
    if len(d) < 6:
        assert case["interval"]["low"] is None and case["interval"]["high"] is None, case
    elif not case["coarse"]:
        for end, away in ((case["interval"]["low"], 1), (case["interval"]["high"], -1)):
            outside = wilcoxon((d - end + away * 1e-9) * away)
            inside = wilcoxon((d - end - away * 1e-9) * away)
            if not outside <= 0.025 < inside:
                problems.append(f"interval end {end} of {d}: p {outside} outside, {inside} inside")
            near(f"level of {d}", case["interval"]["level"], 1 - 2 * outside)


def check_unpaired(case):
    a, b = np.array(case["a"]), np.array(case["b"])
    method = "exact" if case["exact"] else "asymptotic"
    assert case["exact"] == (len(set(a) | set(b)) == len(a) + len(b)), case
    greater = stats.mannwhitneyu(b, a, alternative="greater", method=method)
    near(f"U of {a}, {b}", case["u"], greater.statistic)
    near(f"rank sum of {a}, {b}", case["p_greater"], greater.pvalue)
    near(f"rank sum of {a}, {b}", case["p"], stats.mannwhitneyu(b, a, method=method).pvalue)
    near(f"shift of {a}, {b}", case["shift"], np.median(np.subtract.outer(b, a)))
    near(f"t test of {a}, {b}", case["equal_means"], stats.ttest_ind(a, b).pvalue)
    low, high = case["interval"]["low"], case["interval"]["high"]
    if case["exact"] and low is not None:
        for end, x, y in ((low, a, b), (-high, b, a)):
            p = [stats.mannwhitneyu(y - end + step, x, alternative="greater", method="exact").pvalue for step in (1e-9, -1e-9)]
            if not p[0] <= 0.025 < p[1]:
                problems.append(f"interval end {end} of {a}, {b}: p {p}")
            near(f"level of {a}, {b}", case["interval"]["level"], 1 - 2 * p[0])


def check_multiple(case):
    p = np.array(case["p"])
    for got, want in zip(case["q"], stats.false_discovery_control(p, method="bh")):
        near(f"q values of {p}", got, want)
    for i, got in enumerate(case["holm"]):
        # Its definition: the largest among all p that are no larger, each times the number of those that are not below it.
        near(f"Holm of {p}", got, min(1.0, max(x * (p >= x).sum() for x in p if x <= p[i])))


def check_shares(case):
    def ends(what, got, low, high):
        near(f"{what} of {case['a']}, {case['b']}", got["low"], low)
        near(f"{what} of {case['a']}, {case['b']}", got["high"], high)

    wilson = {}
    for side in "ab":
        wilson[side] = stats.binomtest(*case[side]).proportion_ci(0.95, method="wilson")
    ends("Wilson", case["wilson"], wilson["a"].low, wilson["a"].high)
    exact = stats.binomtest(*case["a"]).proportion_ci(0.95, method="exact")
    ends("Clopper-Pearson", case["exact"], exact.low, exact.high)
    a, b = (case[side][0] / case[side][1] for side in "ab")
    down = math.sqrt((b - wilson["b"].low) ** 2 + (wilson["a"].high - a) ** 2)
    up = math.sqrt((wilson["b"].high - b) ** 2 + (a - wilson["a"].low) ** 2)
    ends("Newcombe", case["difference"], b - a - down, b - a + up)


def check_recoveries(case):
    def censored(group):
        return stats.CensoredData(
            uncensored=[time for time, recovered in group if recovered], right=[time for time, recovered in group if not recovered]
        )

    a, b = censored(case["a"]), censored(case["b"])
    near(f"log rank of {case['a']}, {case['b']}", case["p"], stats.logrank(a, b).pvalue)
    one_sided = min(stats.logrank(a, b, alternative=side).pvalue for side in ("less", "greater"))
    near("one side of it", min(case["p_slower"], 1 - case["p_slower"]), one_sided)


def check_buckets(case):
    values = np.repeat([v for v, _ in case["buckets"]], [n for _, n in case["buckets"]])
    smooth = stats.mstats.hdquantiles(values, case["q"]) if len(values) > 1 else np.repeat(values, len(case["q"]))
    plain = np.quantile(values, case["q"], method="inverted_cdf")
    for q, ours, used, hd, rank in zip(case["q"], case["smooth"], case["used"], smooth, plain):
        near(f"Harrell-Davis {q} of {case['buckets']}", ours, hd, 1e-8)
        near(f"quantile {q} of {case['buckets']}", used, hd if q <= 0.95 else rank, 1e-8)


class StudentsTest(otava.analysis.TTestSignificanceTester):
    """Otava's, but dividing by n - 1."""

    def compare(self, left, right):
        found = super().compare(left, right)
        if len(left) + len(right) > 2:
            found.pvalue = float(stats.ttest_ind(left, right).pvalue)
        return found


def check_histories(case):
    otava.analysis.TTestSignificanceTester = StudentsTest
    # A list: of an array Otava takes the whole for every window.
    points, _ = otava.analysis.compute_change_points(
        case["series"], window_len=case["window"], max_pvalue=case["p"], min_magnitude=case["min_magnitude"]
    )
    if [p.index for p in points] != [p[0] for p in case["points"]]:
        problems.append(f"change points {case['points']}, Otava finds {[p.index for p in points]} in {case['series']}")
        return
    # Otava leaves the numbers of a point as they were when its right neighbour is dropped: ours are made anew here.
    edges = [0, *(p.index for p in points), len(case["series"])]
    for ours, start, at, end in zip(case["points"], edges, edges[1:], edges[2:]):
        left, right = case["series"][start:at], case["series"][at:end]
        near("mean before", ours[1], np.mean(left))
        near("mean after", ours[2], np.mean(right))
        near("p", ours[3], stats.ttest_ind(left, right).pvalue)


with open(sys.argv[1], encoding="utf-8") as file:
    numbers = json.load(file)
for group, cases in numbers.items():
    before, compared_before = len(problems), compared
    assert cases, group
    for one in cases:
        globals()[f"check_{group}"](one)
    if len(problems) == before:
        found = f", {sum(len(c['points']) for c in cases)} change points" if group == "histories" else ""
        print(f"ok: {group}: {len(cases)} cases, {compared - compared_before} values{found}")
for problem in problems:
    print(f"FAILED: {problem}", file=sys.stderr)
sys.exit(bool(problems))
