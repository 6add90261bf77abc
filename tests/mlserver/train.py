#!/usr/bin/env python3
"""Trains a small scikit-learn model on the shipped fraud data and leaves it as MLServer wants it: model.joblib beside
model-settings.json and settings.json.

The model takes one tensor of numbers, a row of all columns but the label for each prediction. Prints, as JSON, the model's own
accuracy over all rows: what accuracy a run must come near to, whatever breaks in it.

usage: train.py DATA.csv MODEL_FOLDER
"""

import csv
import json
import sys
from pathlib import Path

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LABEL = "is_fraud"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, folder = sys.argv[1], Path(sys.argv[2])
    with open(data, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name != LABEL]
    features = [[float(row[name]) for name in columns] for row in rows]
    labels = [int(row[LABEL]) for row in rows]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(features, labels)
    right = sum(int(p) == l for p, l in zip(model.predict(features), labels))
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    settings = {"name": "fraud", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib", "version": "3"}}
    (folder / "model-settings.json").write_text(json.dumps(settings), encoding="utf-8")
    print(json.dumps({"rows": len(rows), "accuracy": right / len(rows)}))


if __name__ == "__main__":
    main()
