"""From ImportPlan to MLflow: look up, decide, write, remember."""
