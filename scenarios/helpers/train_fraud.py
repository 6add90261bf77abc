#!/usr/bin/env python3
"""The recipe of the shipped fraud data and of the two models trained on it.

Makes up accounts and card transactions, draws a fraud label for each from a known formula, fits two
logistic regressions by Newton's method on the first 4,000 transactions, and writes

    data/fraud.csv                  5,000 labelled transactions: the rows that scenarios send
    models/fraud-v1/model.json      weights, means and scales, threshold, quality
    models/fraud-v1/features.csv    stored features of each account, in records of fixed width
    models/fraud-v2/...             one stored feature more and less regularisation

Standard library only. The same bytes on every run: all chance comes from `random()`, whose sequence
Python promises to keep, and every float is written with fixed digits. Models are fitted to the values
as they are written, so that a server that reads the files sees what the training saw.

    python3 scenarios/helpers/train_fraud.py            # writes beside this file's folder
    python3 scenarios/helpers/train_fraud.py --out DIR  # writes there, to compare
"""

import argparse
import hashlib
import json
import math
import random
from pathlib import Path

SEED = 20240607
ACCOUNTS = 2000
FIRST_ACCOUNT = 10000
TRANSACTIONS = 5000
TRAINING_ROWS = 4000  # the rest is held out
THRESHOLD = 0.5

DATA_COLUMNS = ["account_id", "amount", "hour", "merchant_risk", "distance_km", "is_foreign", "is_fraud"]

# What a transaction brings, and how the model takes it in.
REQUEST_FEATURES = [
    ("amount", "request", "log1p"),
    ("hour", "request", "night"),
    ("merchant_risk", "request", "none"),
    ("distance_km", "request", "log1p"),
    ("is_foreign", "request", "none"),
]
# What is stored for the account: name, width in the file, digits after the point.
STORED = {
    "account_id": (5, 0),
    "account_age_days": (4, 0),
    "avg_amount_30d": (8, 2),
    "chargebacks": (1, 0),
    "logins_24h": (2, 0),
}
MODELS = [
    {
        "version": "1",
        "l2": 20.0,
        "stored": [("account_age_days", "log1p"), ("avg_amount_30d", "log1p"), ("chargebacks", "none")],
    },
    {
        "version": "2",
        "l2": 1.0,
        "stored": [
            ("account_age_days", "log1p"),
            ("avg_amount_30d", "log1p"),
            ("chargebacks", "none"),
            ("logins_24h", "none"),
        ],
    },
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent)
    out = parser.parse_args().out

    chance = random.Random(SEED)
    accounts = {a["account_id"]: a for a in (make_account(chance, i) for i in range(ACCOUNTS))}
    rows = [make_transaction(chance, accounts) for _ in range(TRANSACTIONS)]
    write(out / "data" / "fraud.csv", fraud_csv(rows))
    for spec in MODELS:
        folder = out / "models" / f"fraud-v{spec['version']}"
        columns = ["account_id"] + [name for name, _ in spec["stored"]]
        records = [record(account, columns) for account in accounts.values()]
        model = train(spec, rows, accounts, columns, len(records[0]))
        write(folder / "features.csv", "".join(records))
        write(folder / "model.json", json.dumps(model, indent=2) + "\n")


# --- the made-up world -----------------------------------------------------------------------------


def normal(chance):
    """A standard normal number (Box-Muller), from `random()` alone."""
    return math.sqrt(-2.0 * math.log(1.0 - chance.random())) * math.cos(2.0 * math.pi * chance.random())


def make_account(chance, index):
    wronged = chance.random() < 0.08  # accounts that had trouble before have it again
    return {
        "account_id": FIRST_ACCOUNT + index,
        "account_age_days": min(9999, 5 + int(-900.0 * math.log(1.0 - chance.random()))),
        "avg_amount_30d": round(min(99999.0, 45.0 * math.exp(0.7 * normal(chance))), 2),
        "chargebacks": min(9, 1 + int(-1.2 * math.log(1.0 - chance.random()))) if wronged else 0,
        "logins_24h": min(99, int(-2.5 * math.log(1.0 - chance.random()))),
    }


def make_transaction(chance, accounts):
    account = accounts[FIRST_ACCOUNT + int(chance.random() * ACCOUNTS)]
    row = {
        "account_id": account["account_id"],
        "amount": round(max(0.5, account["avg_amount_30d"] * math.exp(0.9 * normal(chance))), 2),
        "hour": min(23, int(24.0 * math.sqrt(chance.random()))),  # more by day than by night
        "merchant_risk": round(chance.random() ** 2, 3),
        "distance_km": round(min(9999.0, 8.0 * math.exp(1.4 * normal(chance))), 1),
        "is_foreign": int(chance.random() < 0.1),
    }
    row["is_fraud"] = int(chance.random() < sigmoid(true_logit(row, account)))
    return row


def true_logit(row, account):
    """How fraud comes about here. Steep enough to be learnt, with chance left over."""
    return (
        -10.8
        + 2.4 * math.log(row["amount"] / account["avg_amount_30d"])
        + 2.6 * (row["hour"] < 6)
        + 5.5 * row["merchant_risk"]
        + 0.9 * math.log1p(row["distance_km"])
        + 2.4 * row["is_foreign"]
        + 1.6 * account["chargebacks"]
        + 0.30 * account["logins_24h"]
        - 0.45 * (math.log1p(account["account_age_days"]) - 6.0)
    )


# --- training --------------------------------------------------------------------------------------


def train(spec, rows, accounts, columns, record_bytes):
    names = REQUEST_FEATURES + [(name, "store", transform) for name, transform in spec["stored"]]
    raw = [[take_in(row, accounts[row["account_id"]], *feature) for feature in names] for row in rows]
    labels = [row["is_fraud"] for row in rows]
    training = raw[:TRAINING_ROWS]
    means = [round(sum(column) / len(column), 6) for column in zip(*training)]
    scales = [
        round(math.sqrt(sum((x - mean) ** 2 for x in column) / len(column)), 6)
        for column, mean in zip(zip(*training), means)
    ]
    standard = [[(x - m) / s for x, m, s in zip(line, means, scales)] for line in raw]
    bias, *weights = fit(standard[:TRAINING_ROWS], labels[:TRAINING_ROWS], spec["l2"])

    # Judged with the weights as written, not with those that were fitted.
    bias, weights = round(bias, 6), [round(w, 6) for w in weights]
    scores = [sigmoid(bias + sum(w * x for w, x in zip(weights, line))) for line in standard]
    return {
        "name": "fraud",
        "version": spec["version"],
        "algorithm": f"logistic regression, L2 {spec['l2']:g}, Newton's method",
        "recipe": f"python3 scenarios/helpers/train_fraud.py (seed {SEED})",
        "store": {
            "file": "features.csv",
            "key": "account_id",
            "columns": columns,
            "first_key": FIRST_ACCOUNT,
            "records": ACCOUNTS,
            "record_bytes": record_bytes,
        },
        "features": [
            {"name": name, "from": source, "transform": transform, "mean": mean, "scale": scale, "weight": weight}
            for (name, source, transform), mean, scale, weight in zip(names, means, scales, weights)
        ],
        "bias": bias,
        "threshold": THRESHOLD,
        "quality": {
            "rows": len(rows),
            "fraud_share": round(sum(labels) / len(labels), 6),
            "accuracy": accuracy(scores, labels),
            "auc": auc(scores, labels),
            "held_out_rows": len(rows) - TRAINING_ROWS,
            "held_out_accuracy": accuracy(scores[TRAINING_ROWS:], labels[TRAINING_ROWS:]),
            "held_out_auc": auc(scores[TRAINING_ROWS:], labels[TRAINING_ROWS:]),
        },
    }


def take_in(row, account, name, source, transform):
    value = (row if source == "request" else account)[name]
    return {"none": float, "log1p": math.log1p, "night": lambda hour: float(hour < 6)}[transform](value)


def fit(lines, labels, l2):
    """Bias and weights that minimise the log loss plus `l2 / 2` times the squared weights.

    Newton's method: the loss is convex, and twelve steps take it to the last digits of a float, so the
    six digits that are kept do not depend on the machine's rounding.
    """
    size = len(lines[0]) + 1
    weights = [0.0] * size
    for _ in range(12):
        gradient = [0.0] + [l2 * w for w in weights[1:]]
        hessian = [[l2 if i == j and i > 0 else 0.0 for j in range(size)] for i in range(size)]
        for line, label in zip(lines, labels):
            x = [1.0] + line
            p = sigmoid(sum(w * v for w, v in zip(weights, x)))
            for i in range(size):
                gradient[i] += (p - label) * x[i]
                slope = p * (1.0 - p) * x[i]
                for j in range(size):
                    hessian[i][j] += slope * x[j]
        weights = [w - step for w, step in zip(weights, solve(hessian, gradient))]
    return weights


def solve(matrix, right):
    """The solution of a small linear system, by elimination with row pivots."""
    rows = [line[:] + [value] for line, value in zip(matrix, right)]
    size = len(rows)
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(size):
            if r != i:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i])]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z))


def accuracy(scores, labels):
    hits = sum((score >= THRESHOLD) == bool(label) for score, label in zip(scores, labels))
    return round(hits / len(labels), 6)


def auc(scores, labels):
    """The share of (fraud, honest) pairs in which the fraud scores higher; a tie counts half."""
    ordered = sorted(zip(scores, labels))
    wins = honest = i = 0
    while i < len(ordered):
        j = i
        while j < len(ordered) and ordered[j][0] == ordered[i][0]:
            j += 1
        frauds = sum(label for _, label in ordered[i:j])
        wins += frauds * (honest + (j - i - frauds) / 2.0)
        honest += j - i - frauds
        i = j
    return round(wins / (honest * (len(ordered) - honest)), 6)


# --- files -----------------------------------------------------------------------------------------


def fraud_csv(rows):
    digits = {"amount": 2, "merchant_risk": 3, "distance_km": 1}
    lines = [",".join(f"{row[c]:.{digits.get(c, 0)}f}" for c in DATA_COLUMNS) for row in rows]
    return "\n".join([",".join(DATA_COLUMNS)] + lines) + "\n"


def record(account, columns):
    """One account on one line. All lines are equally long, so that one read at a known place fetches it."""
    return ",".join(f"{account[c]:{STORED[c][0]}.{STORED[c][1]}f}" for c in columns) + "\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("ascii"))
    print(f"{hashlib.sha256(text.encode('ascii')).hexdigest()}  {path.parent.name}/{path.name}  {len(text)} bytes")


if __name__ == "__main__":
    main()
