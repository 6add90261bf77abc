#!/usr/bin/env python3
"""Trains a small scikit-learn model on the shipped fraud data and saves it with MLflow, as a team would.

The signature names the columns of a request: those of the data without the label, in their order and types, which is
what resbench sends of a dataset whose `label` is set. Prints, as JSON, the model's own accuracy over all rows: what
accuracy a run must come near to, whatever breaks in it.

usage: train.py DATA.csv MODEL_FOLDER
"""

import json
import shutil
import sys

import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LABEL = "is_fraud"



def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, folder = sys.argv[1:]
    table = pd.read_csv(data)
    features, labels = table.drop(columns=LABEL), table[LABEL]
    numbers = ["amount", "hour", "merchant_risk", "distance_km", "is_foreign"]
    model = make_pipeline(
        make_column_transformer((StandardScaler(), numbers)),  # the account's id says nothing here
        LogisticRegression(),
    )
    model.fit(features, labels)
    predictions = model.predict(features)
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.sklearn.save_model(model, folder, signature=infer_signature(features, predictions))
    print(json.dumps({"rows": len(table), "accuracy": float((predictions == labels).mean())}))


if __name__ == "__main__":
    main()
