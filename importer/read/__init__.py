"""From a run directory to a TrainingRun: one module per generator."""
