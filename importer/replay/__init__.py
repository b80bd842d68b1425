"""From TrainingRun to ImportPlan: what the live callback would have logged, and when."""
