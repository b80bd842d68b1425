"""From a run to a model that MLflow loads, registers and serves."""
