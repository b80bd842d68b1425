"""Imported first by the process that workers are made from: it is ymlf's own, and keeps MLflow quiet."""

from importer.store.opening import quiet_mlflow

quiet_mlflow()
