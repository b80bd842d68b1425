"""An MLflow store: opening it, its client, and its failures in plain words."""
